"""The commands of `fileroom`, one file each: `arguments(parser)` declares options, `run(options, settings)` does it."""
