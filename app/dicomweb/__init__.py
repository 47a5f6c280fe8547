"""The HTTP door: PS3.18, one file a service; the only room besides main and ui that knows FastAPI."""
