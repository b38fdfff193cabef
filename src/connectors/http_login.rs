//! How a client says who it is: a token, a name and a password, or a token that it fetches by OAuth 2.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Client;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::http_auth::Basic;
use super::http_call::{CallError, body_of, url_of};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::tree::Node;

/// Bytes of an answer with a token.
const TOKEN_BYTES: usize = 1 << 20;
/// How long a token is used whose answer does not say.
const TOKEN_AGE: Duration = Duration::from_secs(3_600);
/// How long before its end a token is not used any more: it has to hold until the request is there.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);

/// How to say who calls; one of them.
#[derive(Serialize, Deserialize, JsonSchema, Clone)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Login {
    /// With this token: `Authorization: Bearer …`. Write it as `${TOKEN}`.
    Bearer(String),
    /// With this name and password.
    Basic(Basic),
    /// With a token that is fetched first, kept until it expires, and fetched anew when it is refused.
    Oauth2(Oauth2),
}

impl Login {
    /// Where a token is fetched, if it is.
    pub fn token_url(&self) -> Option<&String> {
        match self {
            Login::Oauth2(oauth2) => Some(&oauth2.token_url),
            Login::Bearer(_) | Login::Basic(_) => None,
        }
    }
}

/// How a token is fetched: OAuth 2 with client credentials.
#[derive(Serialize, Deserialize, JsonSchema, Clone)]
#[serde(deny_unknown_fields)]
pub struct Oauth2 {
    /// Where: `https://login.example.org/oauth2/token`.
    #[schemars(length(min = 1), example = &"https://login.example.org/oauth2/token")]
    pub token_url: String,
    /// Who asks.
    pub client_id: String,
    /// The secret of it. Write it as `${SECRET}`.
    pub client_secret: String,
    /// What is asked for: `orders.read`, several with spaces in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// For whom the token is to be, where the server wants to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Where `client_id` and `client_secret` go.
    #[serde(default)]
    pub credentials: Credentials,
}

/// Where the credentials of a client go.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    /// Into the header, as name and password: every server takes them there.
    #[default]
    Header,
    /// Into the form, which some servers want.
    Form,
}

impl Login {
    /// Pure: empty secrets and wrong addresses. `node` is where it is written.
    pub fn check(&self, node: &Node, found: &mut Diagnostics) {
        let (key, secret) = match self {
            Login::Bearer(token) => ("bearer", token),
            Login::Basic(basic) => ("basic", &basic.password),
            Login::Oauth2(oauth2) => ("oauth2", &oauth2.client_secret),
        };
        let inner = node.get(key).unwrap_or(node);
        if secret.is_empty() {
            let wrong =
                Diagnostic::error("no-secret", format!("the secret of `{key}` is empty"), Some(inner.span.clone()));
            found.push(wrong.help("set the variable that it comes from, or leave `auth` out"));
        }
        if let Login::Oauth2(oauth2) = self
            && let Err(why) = url_of(&oauth2.token_url)
        {
            let place = Some(inner.get("token_url").unwrap_or(inner).span.clone());
            found.push(Diagnostic::error("bad-http", why, place).help("write all of it: `https://example.org/token`"));
        }
    }
}

/// Says who calls, for as many calls as there are, also side by side.
pub struct Caller {
    login: Option<Login>,
    client: Client,
    token: Mutex<Option<Token>>,
}

struct Token {
    header: HeaderValue,
    until: Instant,
}

/// The answer with a token.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<serde_json::Value>,
}

impl Caller {
    /// `client` fetches tokens.
    pub fn new(login: Option<Login>, client: Client) -> Self {
        Caller { login, client, token: Mutex::new(None) }
    }

    /// What goes into `Authorization`, if anything; fetches a token if there is none that holds.
    pub async fn authorization(&self) -> Result<Option<HeaderValue>, CallError> {
        let header = match &self.login {
            None => return Ok(None),
            Some(Login::Bearer(token)) => secret_header(&format!("Bearer {token}"))?,
            Some(Login::Basic(basic)) => basic_header(&basic.user, &basic.password)?,
            Some(Login::Oauth2(oauth2)) => {
                // Whoever comes meanwhile waits for the same token.
                let mut kept = self.token.lock().await;
                match kept.as_ref().filter(|token| token.until > Instant::now()) {
                    Some(token) => token.header.clone(),
                    None => {
                        let token = self.fetch(oauth2).await.map_err(|e| CallError {
                            reason: format!("no token from `token_url`: {}", e.reason),
                            ..e
                        })?;
                        kept.insert(token).header.clone()
                    }
                }
            }
        };
        Ok(Some(header))
    }

    /// The server answered `401` to what was shown. True if that was a fetched token: it is not used again, and another may
    /// do better.
    pub async fn refused(&self, shown: Option<&HeaderValue>) -> bool {
        if !matches!(self.login, Some(Login::Oauth2(_))) {
            return false;
        }
        let mut kept = self.token.lock().await;
        // Another call may have fetched a new one since.
        kept.take_if(|token| Some(&token.header) == shown);
        true
    }

    /// The request for a token.
    fn ask(&self, oauth2: &Oauth2) -> Result<reqwest::RequestBuilder, CallError> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        let optional = [("scope", &oauth2.scope), ("audience", &oauth2.audience)];
        for (name, value) in optional.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            form.append_pair(name, value);
        }
        let url = url_of(&oauth2.token_url).map_err(CallError::lasting)?;
        let mut request = self.client.post(url).header(ACCEPT, "application/json");
        match oauth2.credentials {
            Credentials::Header => {
                // They are written as in a form first (RFC 6749, 2.3.1).
                let escape = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let header = basic_header(&escape(&oauth2.client_id), &escape(&oauth2.client_secret))?;
                request = request.header(AUTHORIZATION, header);
            }
            Credentials::Form => {
                form.append_pair("client_id", &oauth2.client_id).append_pair("client_secret", &oauth2.client_secret);
            }
        }
        Ok(request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.finish()))
    }

    async fn fetch(&self, oauth2: &Oauth2) -> Result<Token, CallError> {
        let request = self.ask(oauth2)?;
        let asked = Instant::now();
        let response = request.timeout(Duration::from_secs(30)).send().await.map_err(|e| CallError::of(&e))?;
        if !response.status().is_success() {
            return Err(CallError::status(response.status(), response.headers()));
        }
        let body = body_of(response, TOKEN_BYTES).await?;
        let granted: Granted = serde_json::from_slice(&body)
            .map_err(|_| CallError::lasting("its answer is no JSON object with an `access_token`"))?;
        // Some servers write the number as text.
        let seconds = granted.expires_in.and_then(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok()));
        let age = seconds.map_or(TOKEN_AGE, Duration::from_secs).min(TOKEN_AGE * 24).saturating_sub(TOKEN_MARGIN);
        Ok(Token { header: secret_header(&format!("Bearer {}", granted.access_token))?, until: asked + age })
    }
}

fn basic_header(user: &str, password: &str) -> Result<HeaderValue, CallError> {
    secret_header(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// A header that is printed nowhere.
fn secret_header(text: &str) -> Result<HeaderValue, CallError> {
    let mut header = HeaderValue::from_str(text)
        .map_err(|_| CallError::lasting("the secret has a character that no header may have"))?;
    header.set_sensitive(true);
    Ok(header)
}
