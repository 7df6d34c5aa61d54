"""Everything on one machine: what `embedwatch up` and `embedwatch demo` start, watch and stop."""
