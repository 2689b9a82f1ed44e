//! Generated gRPC client and server.
