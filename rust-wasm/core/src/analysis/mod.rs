//! Compression analysis: what of a conversation says again what it has said before.
