"""The only network code towards the archive: HTTP/1.1 of PS3.18, on kept-alive connections."""
