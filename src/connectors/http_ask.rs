//! What a polled HTTP source sends, and how its answers go on: requests with a cursor in them, and pages.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LINK};
use reqwest::{Client, RequestBuilder, Url};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use super::http_call::{CallError, url_of};
use super::http_client::{Method, Numbers, Options, Pagination};
use super::http_standing::{Page, Standing};
use super::json_path::JsonPath;
use crate::connector::path::is_template;
use crate::connector::template::Template;
use crate::data::value::Val;

/// Requests of one source.
pub struct Ask {
    method: Method,
    /// What it says in plain text, up to where the cursor is.
    url: Url,
    /// All of it, if the cursor is in it.
    address: Option<Text>,
    query: Vec<(String, Text)>,
    headers: Vec<(HeaderName, Text)>,
    body: Option<Text>,
    next: Next,
}

/// How an answer goes on.
enum Next {
    Nowhere,
    Link,
    Url(JsonPath),
    Token(JsonPath, String),
    Page(Numbers),
}

/// A text that may have the cursor in it.
enum Text {
    Plain(String),
    Cursor(Template),
}

/// What is wrong with which option.
pub type Wrong = (&'static str, String);

impl Text {
    fn of(key: &'static str, text: &str, cursor: bool) -> Result<Text, Wrong> {
        if !is_template(text) {
            return Ok(Text::Plain(text.to_owned()));
        }
        let (template, fields) = Template::parse(text).map_err(|why| (key, why))?;
        if let Some(other) = fields.iter().find(|field| *field != "cursor") {
            return Err((key, format!("a request has nothing but `cursor`, and `{text}` reads `{other}`")));
        }
        if fields.is_empty() {
            return template.render(&[]).map(Text::Plain).map_err(|why| (key, why));
        }
        if !cursor {
            return Err((key, format!("`{text}` reads the cursor, and there is no `cursor: {{ field: … }}`")));
        }
        Ok(Text::Cursor(template))
    }

    /// Nothing if it needs a cursor and there is none yet.
    fn render(&self, cursor: Option<&str>) -> Option<String> {
        match self {
            Text::Plain(text) => Some(text.clone()),
            Text::Cursor(template) => template.render(&[cursor.map_or(Val::Unit, Val::Text)]).ok(),
        }
    }
}

impl Ask {
    /// Pure: what the options ask for, or which of them is wrong.
    pub fn of(options: &Options) -> Result<Ask, Wrong> {
        let cursor = options.cursor.is_some();
        let mut query = Vec::new();
        for (name, value) in &options.query {
            let text = match &value.0 {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Number(number) => number.to_string(),
                _ => return Err(("query", format!("`{name}` is a text or a number"))),
            };
            query.push((name.clone(), Text::of("query", &text, cursor)?));
        }
        let mut headers = Vec::new();
        for (name, text) in &options.headers {
            let known =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| ("headers", format!("`{name}` is no header")));
            let text = Text::of("headers", text, cursor)?;
            if let Text::Plain(text) = &text
                && HeaderValue::from_str(text).is_err()
            {
                return Err(("headers", format!("the value of `{name}` has a character that no header may have")));
            }
            headers.push((known?, text));
        }
        let body = options.body.as_ref().map(|text| Text::of("body", text, cursor)).transpose()?;
        let begun = options.cursor.as_ref().is_some_and(|cursor| cursor.start.is_some());
        if !begun && body.as_ref().is_some_and(|body| body.render(None).is_none()) {
            return Err((
                "body",
                "the first body has no cursor yet; write `cursor: { field: …, start: … }`".to_owned(),
            ));
        }
        if let Some(cursor) = &options.cursor {
            JsonPath::parse(&cursor.field).map_err(|why| ("cursor", why))?;
            if cursor.start.as_ref().is_some_and(|start| !start.0.is_string() && !start.0.is_number()) {
                return Err(("cursor", "`start` is a text or a number".to_owned()));
            }
        }
        options.records.as_ref().map(|path| JsonPath::parse(path).map_err(|why| ("records", why))).transpose()?;
        let path = |text: &str| JsonPath::parse(text).map_err(|why| ("pagination", why));
        let next = match &options.pagination {
            None => Next::Nowhere,
            Some(Pagination::LinkHeader) => Next::Link,
            Some(Pagination::NextUrl(text)) => Next::Url(path(text)?),
            Some(Pagination::Token(token)) => Next::Token(path(&token.path)?, token.parameter.clone()),
            Some(Pagination::Page(numbers)) => Next::Page(numbers.clone()),
        };
        let (url, address) = address_of(options, cursor)?;
        if !begun && address.is_some() {
            let why = "the first address has no cursor yet; write `cursor: { field: …, start: … }`";
            return Err(("url", why.to_owned()));
        }
        Ok(Ask { method: options.method, url, address, query, headers, body, next })
    }

    /// Where it is sent, without what is asked for.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the answer is all there is.
    pub fn is_single(&self) -> bool {
        matches!(self.next, Next::Nowhere)
    }

    /// Whether a page that is not there is one behind the last.
    pub fn may_end_at(&self, standing: &Standing) -> bool {
        matches!((&self.next, &standing.page), (Next::Page(_), Some(_)))
    }

    /// The next request, and a hash of what it asks for.
    pub fn request(&self, client: &Client, standing: &Standing) -> Result<(RequestBuilder, u64), CallError> {
        let cursor = standing.cursor.as_ref().map(super::http_standing::Mark::text);
        let cursor = cursor.as_deref();
        let url = self.url_at(standing, cursor)?;
        let mut headers = HeaderMap::new();
        for (name, text) in &self.headers {
            let Some(value) = text.render(cursor) else { continue };
            let value = HeaderValue::from_str(&value)
                .map_err(|_| CallError::lasting(format!("the cursor `{value}` cannot be in a header")))?;
            headers.insert(name, value);
        }
        let body = self.body.as_ref().and_then(|body| body.render(cursor));
        let hash = xxh3_64(format!("{url} {}", body.as_deref().unwrap_or_default()).as_bytes());
        let request = match self.method {
            Method::Get => client.get(url),
            Method::Post => client.post(url),
        };
        let request = request.headers(headers);
        Ok((body.into_iter().fold(request, RequestBuilder::body), hash))
    }

    /// The address with the cursor in it. Within the path it is one name, whatever characters it has.
    fn at_cursor(&self, cursor: Option<&str>) -> Result<Url, CallError> {
        let Some(address) = &self.address else { return Ok(self.url.clone()) };
        let wrong = || CallError::lasting("the cursor cannot be in an address");
        let cursor = cursor.filter(|cursor| !matches!(*cursor, "" | "." | "..")).ok_or_else(wrong)?;
        let written: String = cursor.bytes().fold(String::new(), |mut written, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => written.push(char::from(byte)),
                other => written.push_str(&format!("%{other:02X}")),
            }
            written
        });
        let url = Url::parse(&address.render(Some(&written)).ok_or_else(wrong)?).map_err(|_| wrong())?;
        match url.origin() == self.url.origin() && url.path().starts_with(self.url.path()) {
            true => Ok(url),
            false => Err(wrong()),
        }
    }

    fn url_at(&self, standing: &Standing, cursor: Option<&str>) -> Result<Url, CallError> {
        let page = match (&self.next, &standing.page) {
            (_, Some(Page::At(url))) => return self.own(url, &self.url),
            (Next::Token(_, parameter), Some(Page::By(value))) => Some((parameter, value.clone())),
            (Next::Page(numbers), Some(Page::Number(number))) => Some((&numbers.parameter, number.to_string())),
            (Next::Page(numbers), _) => Some((&numbers.parameter, numbers.start.to_string())),
            _ => None,
        };
        let mut url = self.at_cursor(cursor)?;
        let asked = self.query.iter().filter_map(|(name, text)| Some((name, text.render(cursor)?)));
        let page_name = page.as_ref().map(|(name, _)| name.as_str());
        let asked: Vec<_> = asked.filter(|(name, _)| Some(name.as_str()) != page_name).chain(page.clone()).collect();
        if !asked.is_empty() {
            url.query_pairs_mut().extend_pairs(asked);
        }
        Ok(url)
    }

    /// An address that the server gave, if it is the server's own: who logs in there does so nowhere else.
    fn own(&self, text: &str, base: &Url) -> Result<Url, CallError> {
        let wrong = || CallError::lasting("the address of the next page is none");
        let mut url = base.join(text).map_err(|_| wrong())?;
        // Behind a proxy that ends TLS servers do not know how they are called.
        if self.url.scheme() == "https" && url.scheme() == "http" && url.port().is_none() {
            url.set_scheme("https").map_err(|()| wrong())?;
        }
        if url.origin() != self.url.origin() {
            return Err(CallError::lasting("the next page is on another host, to which nothing is sent"));
        }
        Ok(url)
    }

    /// The page that comes after an answer: `at` its address, `count` how many events it had.
    pub fn page_after(
        &self,
        standing: &Standing,
        (at, headers): (&Url, &HeaderMap),
        body: Option<&RawValue>,
        count: usize,
    ) -> Result<Option<Page>, CallError> {
        let given = |path: &JsonPath| {
            let found = body.and_then(|body| path.find(body).ok().flatten()).map_or("null", RawValue::get);
            match found {
                "null" | "false" | "\"\"" => None,
                text => Some(serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned())),
            }
        };
        let address = |text: String| self.own(&text, at).map(|url| Page::At(url.into()));
        let page = match &self.next {
            Next::Nowhere => None,
            Next::Link => headers.get_all(LINK).iter().find_map(next_of).map(address).transpose()?,
            Next::Url(path) => given(path).map(address).transpose()?,
            Next::Token(path, _) => given(path).map(Page::By),
            Next::Page(numbers) => {
                let number = match standing.page {
                    Some(Page::Number(number)) => number,
                    _ => numbers.start,
                };
                let last = count == 0 || numbers.size.is_some_and(|size| (count as u64) < size);
                (!last).then(|| Page::Number(number.saturating_add(1)))
            }
        };
        if page.is_some() && page == standing.page {
            return Err(CallError::lasting("the page after this one is itself"));
        }
        Ok(page)
    }
}

/// The address in plain text up to where the cursor is, and all of it if it is in it.
fn address_of(options: &Options, cursor: bool) -> Result<(Url, Option<Text>), Wrong> {
    let written = options.url.as_str();
    let wrong = |why: String| ("url", why);
    let Text::Cursor(_) = Text::of("url", written, cursor)? else { return Ok((url_of(written).map_err(wrong)?, None)) };
    let plain = written.split("{{").next().unwrap_or_default();
    let behind_host = plain.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    if !behind_host || written.contains("{%") {
        return Err(wrong("the host of an address may not depend on the cursor".to_owned()));
    }
    let up_to = plain.rfind('/').map_or(plain, |at| plain.get(..=at).unwrap_or(plain));
    Ok((url_of(up_to).map_err(wrong)?, Some(Text::of("url", written, cursor)?)))
}

/// The address of the next page in a header `Link`: `<…>; rel="next", <…>; rel="last"`.
fn next_of(header: &HeaderValue) -> Option<String> {
    let mut rest = header.to_str().ok()?;
    while let Some((_, after)) = rest.split_once('<') {
        let (address, behind) = after.split_once('>')?;
        let end = behind.find(",<").or_else(|| behind.find(", <")).unwrap_or(behind.len());
        let (parameters, others) = behind.split_at(end);
        let is_next = parameters.split(';').filter_map(|part| part.trim().split_once('=')).any(|(name, value)| {
            let mut values = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel") && values.any(|value| value.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(address.to_owned());
        }
        rest = others;
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connectors::http_standing::Mark;

    fn ask(options: serde_json::Value) -> Ask {
        Ask::of(&serde_json::from_value(options).unwrap()).unwrap_or_else(|(key, why)| panic!("{key}: {why}"))
    }

    fn url(ask: &Ask, standing: &Standing) -> String {
        let request = ask.request(&Client::new(), standing).unwrap().0.build().unwrap();
        request.url().to_string()
    }

    #[test]
    fn requests_have_the_cursor_once_there_is_one() {
        let ask = ask(json!({
            "url": "http://h/x?a=1", "query": {"since": "{{ cursor }}", "n": "5"}, "cursor": {"field": "at"},
            "headers": {"X-Since": "t={{ cursor }}"}
        }));
        let mut standing = Standing::default();
        assert_eq!(url(&ask, &standing), "http://h/x?a=1&n=5");
        standing.cursor = Some(Mark::start(&json!("2026-01-01T00:00:00+01:00")));
        assert_eq!(url(&ask, &standing), "http://h/x?a=1&n=5&since=2026-01-01T00%3A00%3A00%2B01%3A00");
        let request = ask.request(&Client::new(), &standing).unwrap().0.build().unwrap();
        assert_eq!(request.headers()["x-since"], "t=2026-01-01T00:00:00+01:00");
    }

    #[test]
    fn an_address_has_the_cursor_as_one_name() {
        let options = json!({"url": "http://h/a/{{ cursor }}/b?x=1", "cursor": {"field": "at", "start": 1}});
        let ask = ask(options);
        let at = |cursor: &str| {
            let cursor = Some(Mark::start(&json!(cursor)));
            let request = ask.request(&Client::new(), &Standing { cursor, ..Standing::default() });
            request.ok().map(|(request, _)| request.build().unwrap().url().to_string())
        };
        for (cursor, wanted) in [
            ("7", Some("http://h/a/7/b?x=1")),
            ("2026-01-01T00:00:00+01:00", Some("http://h/a/2026-01-01T00%3A00%3A00%2B01%3A00/b?x=1")),
            ("../../c?y#z", Some("http://h/a/..%2F..%2Fc%3Fy%23z/b?x=1")),
            ("..", None),
            ("", None),
        ] {
            assert_eq!(at(cursor).as_deref(), wanted, "{cursor}");
        }
    }

    #[test]
    fn options_that_ask_for_nothing_are_refused() {
        for (options, key) in [
            (json!({"url": "http://h", "query": {"since": "{{ cursor }}"}}), "query"),
            (json!({"url": "http://h", "query": {"since": "{{ other }}"}, "cursor": {"field": "at"}}), "query"),
            (json!({"url": "http://h/{{ cursor }}"}), "url"),
            (json!({"url": "http://h/{{ cursor }}", "cursor": {"field": "at"}}), "url"),
            (json!({"url": "http://{{ cursor }}/", "cursor": {"field": "at", "start": 1}}), "url"),
            (json!({"url": "http://h{{ cursor }}/", "cursor": {"field": "at", "start": 1}}), "url"),
            (json!({"url": "http://h", "headers": {"a b": "c"}}), "headers"),
            (json!({"url": "http://h", "body": "{{ cursor }}", "cursor": {"field": "at"}}), "body"),
            (json!({"url": "http://h", "cursor": {"field": "a."}}), "cursor"),
            (json!({"url": "http://h", "cursor": {"field": "a", "start": true}}), "cursor"),
            (json!({"url": "http://h", "records": "*"}), "records"),
            (json!({"url": "http://h", "pagination": {"next_url": ".."}}), "pagination"),
        ] {
            let found = Ask::of(&serde_json::from_value(options.clone()).unwrap());
            assert_eq!(found.err().map(|(key, _)| key), Some(key), "{options}");
        }
    }

    #[test]
    fn answers_go_on() {
        let link =
            "<http://h/x?page=1>; rel=\"prev\", </x?page=3>; title=\"a, b\"; rel=\"next\", <http://h/9>; rel=last";
        let body: &RawValue =
            serde_json::from_str(r#"{"next":"/y?a=1","token":17,"none":null,"far":"http://e/"}"#).unwrap();
        let at = Url::parse("http://h/x?page=2").unwrap();
        let token = |path: &str| json!({"token": {"path": path, "parameter": "after"}});
        for (pagination, count, wanted) in [
            (json!("link_header"), 1, Some("http://h/x?page=3")),
            (json!({"next_url": "next"}), 1, Some("http://h/y?a=1")),
            (json!({"next_url": "none"}), 1, None),
            (token("token"), 1, Some("http://h/x?n=1&after=17")),
            (token("none"), 1, None),
            (json!({"page": {"parameter": "n", "start": 0}}), 1, Some("http://h/x?n=1")),
            (json!({"page": {"parameter": "n", "start": 0}}), 0, None),
            (json!({"page": {"parameter": "n", "size": 10}}), 9, None),
        ] {
            let ask = ask(json!({"url": "http://h/x", "query": {"n": "1"}, "pagination": pagination}));
            let headers = HeaderMap::from_iter([(LINK, link.parse().unwrap())]);
            let page = ask.page_after(&Standing::default(), (&at, &headers), Some(body), count).unwrap();
            let found = page.map(|page| url(&ask, &Standing { page: Some(page), ..Standing::default() }));
            assert_eq!(found.as_deref(), wanted, "{pagination}");
        }
        let far = ask(json!({"url": "http://h/x", "pagination": {"next_url": "far"}}));
        let error = far.page_after(&Standing::default(), (&at, &HeaderMap::new()), Some(body), 1).unwrap_err();
        assert!(error.reason.contains("another host"), "{}", error.reason);
    }
}
