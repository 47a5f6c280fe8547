"""What `app.serve` is made of: the HTTP protocol with its deadlines, the listener, the worker and the processes."""
