"""The subscription: what it costs, how it stands, what has to be done, and how it is paid."""
