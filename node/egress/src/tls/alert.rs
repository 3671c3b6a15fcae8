//! A refusal that a TLS client understands without any certificate: fatal access_denied (RFC 8446, 6.2).
pub const ACCESS_DENIED: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 49];
