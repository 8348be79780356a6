"""Streamlit screens, one file each: read widgets, call one function, draw."""
