//! Alerts of a pipeline of `serve`: read and changed over its API.

use serde_json::{Value, json};

use crate::cli::alerts::{AckArgs, Add, Alerts, By, Seen, Which};
use crate::cli::why::{OfKey, Windows};
use crate::service::alerts::known::Way;
use crate::service::client::Client;
use crate::service::why::WindowAnswer;

use super::{Id, encoded, of, query, read, refused, unlike};

/// Rows as the last checkpoint has them.
fn seen(client: &Client, path: &str) -> Result<Seen, u8> {
    let (rows, as_of) = client.of_checkpoint(path).map_err(|why| refused(&why))?;
    let Value::Array(rows) = rows else { return Err(refused(&unlike(path))) };
    Ok(Seen { rows, as_of })
}

/// The same about a key of an alert.
fn of_key(client: &Client, which: &Which<Id>, what: &str) -> Result<Seen, u8> {
    let asked = [("alert", Some(which.alert.as_str())), ("key", which.key.as_deref())];
    seen(client, &of(&which.of, &format!("/alerts/{what}{}", query(&asked))))
}

/// Who says something, if it is not whose token it is.
fn by(client: &Client, by: &By) -> Option<String> {
    match client.has_token() {
        true => by.named(),
        false => Some(by.name()),
    }
}

impl Alerts<Id> for Client {
    fn active(&self, id: &Id, alert: Option<&str>) -> Result<Seen, u8> {
        seen(self, &of(id, &format!("/alerts{}", query(&[("alert", alert)]))))
    }

    fn history(&self, id: &Id, alert: Option<&str>, most: usize) -> Result<Seen, u8> {
        let asked = [("alert", alert), ("limit", Some(&*most.to_string()))];
        seen(self, &of(id, &format!("/alerts/history{}", query(&asked))))
    }

    fn silences(&self, id: &Id) -> Result<Seen, u8> {
        seen(self, &of(id, "/silences"))
    }

    fn why(&self, which: &Which<Id>) -> Result<Seen, u8> {
        of_key(self, which, "why")
    }

    fn way(&self, which: &Which<Id>) -> Result<Way, u8> {
        let asked = query(&[("alert", Some(&which.alert))]);
        read(self, &of(&which.of, &format!("/alerts/way{asked}")))
    }

    fn why_not(&self, which: &Which<Id>) -> Result<Seen, u8> {
        of_key(self, which, "why-not")
    }

    fn silence(&self, add: &Add<Id>) -> Result<Value, u8> {
        let matchers: Vec<String> = add.matchers.iter().map(ToString::to_string).collect();
        let mut asked = json!({ "matchers": matchers, "comment": add.why.comment, "by": by(self, &add.by) });
        match add.until {
            Some(until) => asked["until"] = json!(until.to_string()),
            // By the clock that ends it.
            None => asked["for"] = json!(add.span.to_string()),
        }
        self.json("POST", &of(&add.of, "/silences"), Some(&asked)).map_err(|why| refused(&why))
    }

    fn expire(&self, id: &Id, silence: &str, who: &By) -> Result<(), u8> {
        let by = by(self, who);
        let path = of(id, &format!("/silences/{}{}", encoded(silence), query(&[("by", by.as_deref())])));
        self.json("DELETE", &path, None).map(|_| ()).map_err(|why| refused(&why))
    }

    fn acknowledge(&self, ack: &AckArgs<Id>) -> Result<Value, u8> {
        let asked = json!({
            "alert": ack.which.alert, "key": ack.which.key(), "for": ack.span.map(|span| span.to_string()),
            "comment": ack.why.comment, "by": by(self, &ack.by),
        });
        self.json("POST", &of(&ack.which.of, "/acknowledgements"), Some(&asked)).map_err(|why| refused(&why))
    }
}

impl Windows<Id> for Client {
    fn window(&self, asked: &OfKey<Id>) -> Result<WindowAnswer, u8> {
        let parameters = query(&[("step", Some(&asked.step)), ("key", Some(&asked.key))]);
        read(self, &of(&asked.of, &format!("/why/window{parameters}")))
    }
}
