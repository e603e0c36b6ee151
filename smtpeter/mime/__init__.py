"""Messages without I/O: what a gateway reads of them and adds to them."""
