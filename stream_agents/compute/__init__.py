"""What the agents compute: plain Python without Faust, I/O or clock. `now` is an argument, in Unix seconds."""
