//! What a peer is told: reflection, next hops, well-known communities, export keys.
