//! Digests, checksums and identifiers made from text: the same text gives the same, in every run and release.

use bumpalo::Bump;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use xxhash_rust::xxh3::xxh3_64;

use super::encode::hex;
use super::{Function, Return, any, function, int, made, text};
use crate::data::hash::hash_key;
use crate::data::value::Val;
use crate::expr::fault::Fault;

pub(super) fn functions() -> Vec<Function> {
    vec![
        function("md5(text)", "The MD5 digest, 32 hexadecimal digits; no protection against forgery.", (r#"md5("a")"#, r#""0cc175b9c0f1b6a831c399e269772661""#), |a, arena| made(&hex(&Md5::digest(text(a, 0)?)), arena)),
        function("sha1(text)", "The SHA-1 digest, 40 hexadecimal digits; no protection against forgery.", (r#"sha1("a")"#, r#""86f7e437faa5a7fce15d1ddcb9eaeaea377667b8""#), |a, arena| made(&hex(&Sha1::digest(text(a, 0)?)), arena)),
        function("sha256(text)", "The SHA-256 digest, 64 hexadecimal digits.", (r#"sha256("a")"#, r#""ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb""#), |a, arena| made(&hex(&Sha256::digest(text(a, 0)?)), arena)),
        function("sha512(text)", "The SHA-512 digest, 128 hexadecimal digits.", (r#"substring(sha512("a"), 0, 16)"#, r#""1f40fc92da241694""#), |a, arena| made(&hex(&Sha512::digest(text(a, 0)?)), arena)),
        function("hmac_sha256(text, key)", "The digest of a text that only who has the key can make, 64 hexadecimal digits; hides an id so that equal ids stay equal.", (r#"substring(hmac_sha256("a", "key"), 0, 16)"#, r#""780c3db4ce3de5b9""#), hmac_sha256),
        function("crc32(text)", "The CRC-32 checksum of zip and Ethernet, an integer.", (r#"crc32("123456789")"#, "3421780262"), |a, _| Ok(Val::Int(crc32fast::hash(text(a, 0)?.as_bytes()).into()).into())),
        function("xxh3(text)", "The 64-bit XXH3 hash, 16 hexadecimal digits; quick, no protection against forgery.", (r#"xxh3("")"#, r#""2d06800538d394c2""#), |a, arena| made(&format!("{:016x}", xxh3_64(text(a, 0)?.as_bytes())), arena)),
        function("bucket(x, count)", "Which of so many buckets, from 0, a value falls into by its hash: about as many values in each, and equal values in one.", (r#"bucket("a", 1)"#, "0"), bucket),
        function("uuid_v5(text, namespace)", "The UUID of a name (RFC 9562, version 5): a stable id. The namespace is `dns`, `url`, `oid`, `x500` or a UUID of your own.", (r#"uuid_v5("www.example.com", "dns")"#, r#""2ed6657d-e927-568b-95e1-2665a8aea6a2""#), uuid_v5).checked(1, |text| namespace(text).map(drop)),
    ]
}

fn hmac_sha256<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let (message, key) = (text(args, 0)?, text(args, 1)?);
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|_| Fault::Unfit(1, "is no key".into()))?;
    mac.update(message.as_bytes());
    made(&hex(&mac.finalize().into_bytes()), arena)
}

fn bucket<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let count = int(args, 1)?;
    let Some(count) = u64::try_from(count).ok().filter(|n| *n > 0) else {
        return Err(Fault::Unfit(1, format!("is {count}, and there must be a bucket")));
    };
    Ok(Val::Int(i64::try_from(hash_key(&[any(args, 0)]) % count).unwrap_or(0)).into())
}

/// The bytes of a namespace. The error goes on after the argument.
fn namespace(text: &str) -> Result<[u8; 16], String> {
    // RFC 9562, 6.6: those of the four kinds differ in their fourth byte.
    let kind = ["dns", "url", "oid", "", "x500"].iter().position(|kind| *kind == text && !kind.is_empty());
    let spelled = match kind {
        Some(kind) => format!("6ba7b81{kind}-9dad-11d1-80b4-00c04fd430c8"),
        None => text.to_owned(),
    };
    let wrong = || format!("is {text:?}, which is none of `dns`, `url`, `oid`, `x500` and no UUID");
    let dashes = spelled.bytes().enumerate().all(|(i, b)| (b == b'-') == matches!(i, 8 | 13 | 18 | 23));
    let digits: Vec<u8> = spelled.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    if !dashes || spelled.len() != 36 || digits.len() != 32 {
        return Err(wrong());
    }
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d)).collect();
    bytes.try_into().map_err(|_| wrong())
}

fn uuid_v5<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let (name, namespace) = (text(args, 0)?, namespace(text(args, 1)?).map_err(|why| Fault::Unfit(1, why))?);
    let digest = Sha1::new().chain_update(namespace).chain_update(name).finalize();
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest).for_each(|(byte, of)| *byte = of);
    // RFC 9562, 5.5: the version's four bits and the variant's two.
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| digits.get(range).unwrap_or_default());
    made(&parts.join("-"), arena)
}
