"""Later: work that follows a store or a delete, such as sweeping."""
