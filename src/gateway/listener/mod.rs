//! Accepting connections: sockets, TLS, HTTP/1.1, limits, Host and Origin checks.
