"""Every claim about speed as a line that anybody can run: `make bench`, or `make bench ONLY=id,id`."""
