//! Text as Base64, as hexadecimal digits and as a part of a URL, and back. What is decoded must be UTF-8.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bumpalo::Bump;

use super::{Function, Return, function, made, text};
use crate::data::value::Val;
use crate::expr::fault::Fault;

pub(super) fn functions() -> Vec<Function> {
    vec![
        function(
            "base64_encode(text)",
            "The text's bytes in Base64, with padding.",
            (r#"base64_encode("año")"#, r#""YcOxbw==""#),
            |a, arena| made(&STANDARD.encode(text(a, 0)?), arena),
        ),
        function(
            "base64url_encode(text)",
            "The text's bytes in the Base64 of URLs and tokens, without padding.",
            (r#"base64url_encode("a?>")"#, r#""YT8-""#),
            |a, arena| made(&URL_SAFE_NO_PAD.encode(text(a, 0)?), arena),
        ),
        function(
            "base64_decode(text)",
            "The text that Base64 encodes, in either alphabet, with or without padding.",
            (r#"base64_decode("YcOxbw")"#, r#""año""#),
            base64_decode,
        ),
        function(
            "hex_encode(text)",
            "The text's bytes as hexadecimal digits.",
            (r#"hex_encode("ok")"#, r#""6f6b""#),
            |a, arena| made(&hex(text(a, 0)?.as_bytes()), arena),
        ),
        function(
            "hex_decode(text)",
            "The text whose bytes hexadecimal digits are.",
            (r#"hex_decode("6F6b")"#, r#""ok""#),
            hex_decode,
        ),
        function(
            "url_encode(text)",
            "The text as a part of a URL: all but letters, digits and `-._~` as `%XX`.",
            (r#"url_encode("a b/c")"#, r#""a%20b%2Fc""#),
            url_encode,
        ),
        function(
            "url_decode(text)",
            "A part of a URL as text: `%XX` as bytes, `+` as a space.",
            (r#"url_decode("a%20b+c")"#, r#""a b c""#),
            |a, arena| made(&decoded(text(a, 0)?).map_err(|why| Fault::Unfit(0, why))?, arena),
        ),
    ]
}

/// Bytes as hexadecimal digits, small letters.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

/// Bytes that must be UTF-8, as text.
fn utf8<'a>(bytes: Vec<u8>, arena: &'a Bump) -> Return<'a> {
    let decoded = String::from_utf8(bytes).map_err(|_| Fault::Unfit(0, "encodes bytes that are not UTF-8".into()))?;
    made(&decoded, arena)
}

fn base64_decode<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let given = text(args, 0)?.trim().trim_end_matches('=');
    let standard: String = given
        .chars()
        .map(|c| {
            if c == '-' {
                '+'
            } else if c == '_' {
                '/'
            } else {
                c
            }
        })
        .collect();
    let bytes = STANDARD_NO_PAD.decode(standard).map_err(|_| Fault::Unfit(0, "is not Base64".into()))?;
    utf8(bytes, arena)
}

fn hex_decode<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let digits: Option<Vec<u32>> = text(args, 0)?.trim().chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0);
    let digits = digits.ok_or_else(|| Fault::Unfit(0, "is not pairs of hexadecimal digits".into()))?;
    let pairs = digits.chunks_exact(2).map(|pair| pair.iter().fold(0u8, |byte, d| byte << 4 | *d as u8));
    utf8(pairs.collect(), arena)
}

fn url_encode<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let mut written = String::new();
    for byte in text(args, 0)?.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            written.push(byte.into());
        } else {
            written.push('%');
            written.push_str(&hex(&[byte]).to_ascii_uppercase());
        }
    }
    made(&written, arena)
}

/// A part of a URL as text. The error goes on after what was given.
pub(super) fn decoded(part: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |b: &u8| char::from(*b).to_digit(16);
                let (Some(high), Some(low)) = (digit(high), digit(low)) else {
                    return Err("has a `%` without two hexadecimal digits after it".into());
                };
                bytes.push((high << 4 | low) as u8);
                rest = after;
            }
            (b'%', _) => return Err("has a `%` without two hexadecimal digits after it".into()),
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| "encodes bytes that are not UTF-8".into())
}
