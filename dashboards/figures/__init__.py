"""Figures: one function each, record to plotly figure. No files, no Dash."""
