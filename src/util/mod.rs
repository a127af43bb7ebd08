//! What the book's helper chapter asks for and std does not have.

mod address;

pub use address::Address;
