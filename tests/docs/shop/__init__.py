"""The application that the pages of the documentation speak of: they import its models."""
