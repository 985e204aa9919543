"""A TLS proxy before what ``up`` serves: ``nginx.conf``, see docs/how-to/tls.md."""
