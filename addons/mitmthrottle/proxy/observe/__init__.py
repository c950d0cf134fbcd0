"""Who is told what is done: observers, the flow itself, HAR files, `Server-Timing`."""
