"""Image sets, their files, downloads and parts."""
