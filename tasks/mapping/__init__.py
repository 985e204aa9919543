"""Which IDENT datum goes to which field of amoCRM, by which policy; pure, without a connection."""
