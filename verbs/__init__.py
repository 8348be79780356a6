"""What each command of the shell does; imported only when its verb is called."""
