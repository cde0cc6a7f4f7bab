//! A gate that takes JSON Web Tokens (RFC 7519): who it is, until when, and which rooms are open to it.
//!
//! ```
//! use tidings_core::Hub;
//! use tidings_jwt::{Algorithm, DecodingKey, JwtGate};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let secret = [7; 32];
//! let gate = JwtGate::new(Algorithm::HS256, DecodingKey::from_secret(&secret)?)?.audience("chat").rooms_claimed();
//! let hub = Hub::builder().gate(gate).build();
//! # Ok(()) }
//! ```
//!
//! A gate of the application's own asks [`JwtGate::identify`] in its [`token`](tidings_core::Gate::token), and decides about rooms
//! itself.
//!
//! The cryptography is that of the Rust Crypto project. An application that uses `jsonwebtoken` with its feature `aws_lc_rs`
//! as well has to say which of the two it is, with `CryptoProvider::install_default`.

mod claims;
mod gate;

pub use claims::Claims;
pub use gate::{JwtGate, KeyError};
pub use jsonwebtoken::{Algorithm, DecodingKey};
