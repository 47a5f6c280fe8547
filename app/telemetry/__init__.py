"""Eyes: logs, metrics and health; imports no room."""
