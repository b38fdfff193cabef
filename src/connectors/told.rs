//! Texts of a receiver: what a template of the author's makes of a notification, or what is told where there is none.

use super::notification::Notification;
use crate::base::diag::Diagnostics;
use crate::base::tree::Node;
use crate::connector::row_template::{Escape, RowTemplate};

/// A text of a receiver.
pub(super) struct Told {
    /// The option that it stands in.
    option: &'static str,
    template: Option<RowTemplate>,
}

impl Told {
    /// Pure: what is wrong with a template, at its place.
    pub fn check(option: &str, text: Option<&str>, escape: Escape, node: &Node, found: &mut Diagnostics) {
        if let Some(text) = text {
            RowTemplate::check(text, escape, node.get(option).unwrap_or(node), found);
        }
    }

    /// Reads the template that an option holds, if it holds one.
    pub fn of(option: &'static str, text: Option<&str>, escape: Escape) -> Result<Told, String> {
        let template = text.map(|text| RowTemplate::parse(text, escape)).transpose();
        Ok(Told {
            option,
            template: template.map_err(|wrong| format!("`{option}` is no template: {}", wrong.message))?,
        })
    }

    /// What it makes of a notification. One that cannot be filled in keeps nobody from being told: then it is what it is
    /// without a template, and the log says why.
    pub fn or(&self, notification: &Notification, without: impl FnOnce() -> String) -> String {
        self.own(notification).unwrap_or_else(without)
    }

    /// What the template makes of it, if there is one that can be filled in.
    pub fn own(&self, notification: &Notification) -> Option<String> {
        match self.template.as_ref()?.render(&notification.names) {
            Ok(text) => Some(text),
            Err(why) => {
                tracing::warn!(option = self.option, why, "a notification is told in other words than were written");
                None
            }
        }
    }
}
