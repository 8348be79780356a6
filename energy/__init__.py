"""Carbon, price and supply of what the site does (the energy papers). Works without torch and simpy."""
