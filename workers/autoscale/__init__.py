"""`embedwatch autoscale`: as many worker processes on this machine as the stream agents ask for."""
