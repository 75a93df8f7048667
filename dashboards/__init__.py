"""What a person sees: the web app and the report."""
