//! Stream decoders: provider bytes in, operations out.
