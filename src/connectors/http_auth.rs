//! Who may send to an HTTP source: bearer tokens, passwords, and signatures as GitHub, Stripe and Slack make them.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::tree::Node;

/// How old a signed time may be, and how far ahead, in seconds: as long as the schemes that have one advise.
const SIGNED_WITHIN: i64 = 300;

/// Who may send; one of them. Without any, everybody who reaches the address.
#[derive(Serialize, Deserialize, JsonSchema, Clone)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// Whoever shows this token: `Authorization: Bearer …`. Write it as `${TOKEN}`.
    Bearer(String),
    /// Whoever gives this name and password.
    Basic(Basic),
    /// Whoever signs what they send.
    Hmac(Signature),
}

/// A name and a password.
#[derive(Serialize, Deserialize, JsonSchema, Clone)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The name.
    pub user: String,
    /// The password. Write it as `${PASSWORD}`.
    pub password: String,
}

/// How requests are signed: HMAC with SHA-256 over the body as it came.
#[derive(Serialize, Deserialize, JsonSchema, Clone)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Whose way of signing.
    pub scheme: Scheme,
    /// What both sides know. Write it as `${SECRET}`.
    pub secret: String,
}

/// Whose way of signing it is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// GitHub's: `X-Hub-Signature-256: sha256=…`.
    Github,
    /// Stripe's: `Stripe-Signature: t=…,v1=…`; a signature counts for five minutes.
    Stripe,
    /// Slack's: `X-Slack-Signature: v0=…` and `X-Slack-Request-Timestamp`; a signature counts for five minutes.
    Slack,
}

impl Auth {
    /// Pure: an empty secret lets everybody in.
    pub fn check(&self, node: &Node, found: &mut Diagnostics) {
        let (empty, key) = match self {
            Auth::Bearer(token) => (token.is_empty(), "bearer"),
            Auth::Basic(basic) => (basic.password.is_empty(), "basic"),
            Auth::Hmac(signature) => (signature.secret.is_empty(), "hmac"),
        };
        if empty {
            let place = Some(node.get(key).unwrap_or(node).span.clone());
            let wrong = Diagnostic::error("no-secret", format!("the secret of `{key}` is empty"), place);
            found.push(wrong.help("set the variable that it comes from, or leave `auth` out to let everybody in"));
        }
    }

    /// Whether the head of a request says who sends it. A signature can only be checked when the body is there.
    pub fn admits_head(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
        match self {
            Auth::Bearer(token) => {
                scheme_of(given, "bearer").is_some_and(|shown| same(shown.as_bytes(), token.as_bytes()))
            }
            Auth::Basic(basic) => {
                let shown = scheme_of(given, "basic").and_then(|text| STANDARD.decode(text).ok());
                shown.is_some_and(|shown| same(&shown, format!("{}:{}", basic.user, basic.password).as_bytes()))
            }
            Auth::Hmac(_) => true,
        }
    }

    /// Whether the body is signed, where it has to be. `now` in seconds since 1970.
    pub fn admits_body(&self, headers: &HeaderMap, body: &[u8], now: i64) -> bool {
        match self {
            Auth::Hmac(signature) => signature.admits(headers, body, now),
            Auth::Bearer(_) | Auth::Basic(_) => true,
        }
    }

    /// What tells a peer how to say who it is, if HTTP has a word for it.
    pub fn challenge(&self) -> Option<&'static str> {
        match self {
            Auth::Bearer(_) => Some("Bearer"),
            Auth::Basic(_) => Some("Basic realm=\"millstream\""),
            Auth::Hmac(_) => None,
        }
    }
}

/// What follows the name of an authorization scheme, whichever case it is in.
fn scheme_of<'a>(given: &'a str, name: &str) -> Option<&'a str> {
    let (scheme, rest) = given.split_once(' ')?;
    scheme.eq_ignore_ascii_case(name).then(|| rest.trim())
}

/// Whether two secrets are the same; how long it takes does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    Sha256::digest(a) == Sha256::digest(b)
}

impl Signature {
    fn admits(&self, headers: &HeaderMap, body: &[u8], now: i64) -> bool {
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let in_time = |at: &str| at.parse::<i64>().is_ok_and(|at| now.abs_diff(at) <= SIGNED_WITHIN.unsigned_abs());
        match self.scheme {
            Scheme::Github => {
                let shown = header("x-hub-signature-256").and_then(|v| v.strip_prefix("sha256="));
                shown.is_some_and(|shown| self.signed(&[body], shown))
            }
            Scheme::Stripe => {
                let parts = header("stripe-signature").unwrap_or_default();
                let mut parts = parts.split(',').filter_map(|part| part.trim().split_once('='));
                let Some(at) = parts.clone().find_map(|(key, at)| (key == "t").then_some(at)) else { return false };
                // While a secret is changed there is a signature by each.
                let by_us =
                    |(key, shown): (&str, &str)| key == "v1" && self.signed(&[at.as_bytes(), b".", body], shown);
                in_time(at) && parts.any(by_us)
            }
            Scheme::Slack => {
                let Some(at) = header("x-slack-request-timestamp") else { return false };
                let shown = header("x-slack-signature").and_then(|v| v.strip_prefix("v0="));
                in_time(at) && shown.is_some_and(|shown| self.signed(&[b"v0:", at.as_bytes(), b":", body], shown))
            }
        }
    }

    /// The headers that sign a body. `now` in seconds since 1970.
    pub fn headers(&self, body: &[u8], now: i64) -> Vec<(&'static str, String)> {
        let at = now.to_string();
        match self.scheme {
            Scheme::Github => vec![("x-hub-signature-256", format!("sha256={}", self.sign(&[body])))],
            Scheme::Stripe => {
                vec![("stripe-signature", format!("t={at},v1={}", self.sign(&[at.as_bytes(), b".", body])))]
            }
            Scheme::Slack => {
                let signed = format!("v0={}", self.sign(&[b"v0:", at.as_bytes(), b":", body]));
                vec![("x-slack-signature", signed), ("x-slack-request-timestamp", at)]
            }
        }
    }

    /// Signs the pieces, one after the other: a hexadecimal text.
    fn sign(&self, pieces: &[&[u8]]) -> String {
        // A key may have any length: this cannot fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()) else { return String::new() };
        pieces.iter().for_each(|piece| mac.update(piece));
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether a hexadecimal text signs the pieces, one after the other.
    fn signed(&self, pieces: &[&[u8]], shown: &str) -> bool {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()) else { return false };
        pieces.iter().for_each(|piece| mac.update(piece));
        bytes_of(shown).is_some_and(|shown| mac.verify_slice(&shown).is_ok())
    }
}

/// The bytes that a hexadecimal text stands for.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    Some(pairs.filter_map(|pair| Some(pair.first()? << 4 | pair.get(1)?)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn signs(scheme: Scheme, list: &[(&'static str, &str)], body: &str, now: i64) -> bool {
        let auth = Auth::Hmac(Signature { scheme, secret: "It's a Secret to Everybody".to_owned() });
        auth.admits_body(&headers(list), body.as_bytes(), now)
    }

    #[test]
    fn tokens_and_passwords() {
        let bearer = Auth::Bearer("t0ken".to_owned());
        for (given, admitted) in
            [("Bearer t0ken", true), ("bearer  t0ken", true), ("Bearer t0keN", false), ("t0ken", false)]
        {
            assert_eq!(bearer.admits_head(&headers(&[("authorization", given)])), admitted, "{given}");
        }
        assert!(!bearer.admits_head(&HeaderMap::new()));
        let basic = Auth::Basic(Basic { user: "ann".to_owned(), password: "a:b".to_owned() });
        // ann:a:b
        assert!(basic.admits_head(&headers(&[("authorization", "Basic YW5uOmE6Yg==")])));
        assert!(!basic.admits_head(&headers(&[("authorization", "Basic YW5uOmE6Yw==")])));
        assert!(!basic.admits_head(&headers(&[("authorization", "Basic !")])));
    }

    #[test]
    fn signatures_of_github() {
        // The example of GitHub's documentation.
        let shown = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert!(signs(Scheme::Github, &[("x-hub-signature-256", shown)], "Hello, World!", 0));
        assert!(!signs(Scheme::Github, &[("x-hub-signature-256", shown)], "Hello, World", 0));
        assert!(!signs(Scheme::Github, &[("x-hub-signature-256", "sha256=7")], "Hello, World!", 0));
        assert!(!signs(Scheme::Github, &[], "Hello, World!", 0));
    }

    /// What a text is signed with by the secret of these tests.
    fn sign(text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"It's a Secret to Everybody").unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_is_signed_here_is_admitted() {
        for scheme in [Scheme::Github, Scheme::Stripe, Scheme::Slack] {
            let signature = Signature { scheme, secret: "s".to_owned() };
            let made = signature.headers(b"body", 1000);
            let made: Vec<(&'static str, &str)> = made.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert!(signature.admits(&headers(&made), b"body", 1001), "{scheme:?}");
            assert!(!signature.admits(&headers(&made), b"Body", 1001), "{scheme:?}");
        }
    }

    #[test]
    fn signatures_with_a_time_count_for_five_minutes() {
        let stripe = format!("t=1000,v1={},v1={}", "00".repeat(32), sign("1000.{}"));
        let slack = format!("v0={}", sign("v0:1000:{}"));
        for (now, admitted) in [(1000, true), (1300, true), (700, true), (1301, false), (699, false)] {
            assert_eq!(signs(Scheme::Stripe, &[("stripe-signature", &stripe)], "{}", now), admitted, "{now}");
            let list = [("x-slack-signature", slack.as_str()), ("x-slack-request-timestamp", "1000")];
            assert_eq!(signs(Scheme::Slack, &list, "{}", now), admitted, "{now}");
        }
        // The time is signed, too.
        let list = [("x-slack-signature", slack.as_str()), ("x-slack-request-timestamp", "1001")];
        assert!(!signs(Scheme::Slack, &list, "{}", 1000));
        let moved = stripe.replace("t=1000", "t=1001");
        assert!(!signs(Scheme::Stripe, &[("stripe-signature", &moved)], "{}", 1000));
    }
}
