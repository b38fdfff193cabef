//! What stateless steps do to a batch, a file each: the larger ones.

pub mod encode;
pub mod explode;
pub mod join;
pub mod lookup;
pub mod parse;
pub mod sample;
mod texts;
pub mod validate;

/// What a JSON value's text is called in messages.
fn kind(text: &str) -> &'static str {
    match text.bytes().next() {
        Some(b'{') => "a map",
        Some(b'[') => "a list",
        Some(b'"') => "text",
        Some(b't' | b'f') => "a bool",
        Some(b'n') => "null",
        _ => "a number",
    }
}
