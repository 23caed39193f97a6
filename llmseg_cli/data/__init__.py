"""Cases, volumes, preprocessing and sampling."""
