//! What the tests of pipeline files came to, for programs: JUnit's XML and JSON.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::base::xml::escape;

/// One pipeline file.
pub struct Suite {
    /// As the user named it.
    pub file: PathBuf,
    /// The pipeline's name; `None` where the file is wrong.
    pub pipeline: Option<String>,
    /// What is wrong with the file, if it is.
    pub broken: Option<String>,
    /// Its tests, in the order written.
    pub cases: Vec<Case>,
}

/// One test that ran.
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The line that it is written in.
    pub line: usize,
    /// How long it took.
    pub took: Duration,
    /// What differs from what was expected; `None` where nothing does.
    pub failure: Option<String>,
}

impl Suite {
    fn failed(&self) -> usize {
        self.cases.iter().filter(|case| case.failure.is_some()).count()
    }

    fn took(&self) -> Duration {
        self.cases.iter().map(|case| case.took).sum()
    }
}

/// As build servers take it: a suite for each file. A file that is wrong has one case, `check`, with an error.
pub fn junit(suites: &[Suite]) -> String {
    let counts = |suites: &[Suite]| {
        let broken = suites.iter().filter(|s| s.broken.is_some()).count();
        let tests = broken + suites.iter().map(|s| s.cases.len()).sum::<usize>();
        let failed: usize = suites.iter().map(Suite::failed).sum();
        let took: Duration = suites.iter().map(Suite::took).sum();
        format!("tests=\"{tests}\" failures=\"{failed}\" errors=\"{broken}\" time=\"{}\"", seconds(took))
    };
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a text cannot fail.
    let _ = writeln!(out, "<testsuites name=\"millstream\" {}>", counts(suites));
    for suite in suites {
        let file = escape(&suite.file.display().to_string());
        let class = suite.pipeline.as_ref().map_or_else(|| file.clone(), |name| escape(name));
        let _ = writeln!(out, "  <testsuite name=\"{file}\" {}>", counts(std::slice::from_ref(suite)));
        if let Some(why) = &suite.broken {
            let _ = writeln!(out, "    <testcase name=\"check\" classname=\"{class}\" file=\"{file}\" time=\"0.000\">");
            element(&mut out, "error", "the pipeline file is wrong", why);
        }
        for case in &suite.cases {
            let (name, line, took) = (escape(&case.name), case.line, seconds(case.took));
            let head = format!("name=\"{name}\" classname=\"{class}\" file=\"{file}\" line=\"{line}\" time=\"{took}\"");
            match &case.failure {
                None => drop(writeln!(out, "    <testcase {head}/>")),
                Some(why) => {
                    let _ = writeln!(out, "    <testcase {head}>");
                    element(&mut out, "failure", why.lines().next().unwrap_or_default(), why);
                }
            }
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// What is wrong with a case, and the case's end.
fn element(out: &mut String, name: &str, message: &str, text: &str) {
    // In an element, unlike in an attribute, lines stay lines.
    let lines: Vec<String> = text.lines().map(escape).collect();
    let text = lines.join("\n");
    let _ = writeln!(out, "      <{name} message=\"{}\">{text}</{name}>\n    </testcase>", escape(message));
}

/// One JSON object, ending in a line end.
pub fn json(suites: &[Suite]) -> String {
    let files: Vec<serde_json::Value> = suites
        .iter()
        .map(|suite| {
            let case = |case: &Case| {
                json!({
                    "name": case.name,
                    "line": case.line,
                    "passed": case.failure.is_none(),
                    "seconds": case.took.as_secs_f64(),
                    "differs": case.failure,
                })
            };
            json!({
                "file": suite.file.display().to_string(),
                "pipeline": suite.pipeline,
                "wrong": suite.broken,
                "tests": suite.cases.iter().map(case).collect::<Vec<_>>(),
            })
        })
        .collect();
    let failed: usize = suites.iter().map(Suite::failed).sum();
    let passed = suites.iter().map(|s| s.cases.len()).sum::<usize>() - failed;
    let broken = suites.iter().filter(|s| s.broken.is_some()).count();
    let mut text = json!({ "passed": passed, "failed": failed, "wrong": broken, "files": files }).to_string();
    text.push('\n');
    text
}

fn seconds(span: Duration) -> String {
    format!("{:.3}", span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites() -> Vec<Suite> {
        let case = |name: &str, failure: Option<&str>| Case {
            name: name.into(),
            line: 7,
            took: Duration::from_millis(12),
            failure: failure.map(str::to_owned),
        };
        vec![
            Suite {
                file: "a \"b\" & c.yaml".into(),
                pipeline: Some("first".into()),
                broken: None,
                cases: vec![
                    case("1 < 2", None),
                    case("tells", Some("out (p.yaml:9:5):\n- {\"a\":\"<\\u0000\u{1b}>\"}\n+ {}")),
                ],
            },
            Suite {
                file: "wrong.yaml".into(),
                pipeline: None,
                broken: Some("error: a\n  & b\n".into()),
                cases: vec![],
            },
            Suite { file: "none.yaml".into(), pipeline: Some("none".into()), broken: None, cases: vec![] },
        ]
    }

    #[test]
    fn build_servers_see_suites_cases_and_what_differs() {
        insta::assert_snapshot!(junit(&suites()));
    }

    #[test]
    fn every_element_that_begins_ends_and_counts_are_right() {
        let xml = junit(&suites());
        let mut open: Vec<&str> = Vec::new();
        for tag in xml.split('<').skip(1).filter(|tag| !tag.starts_with('?')) {
            let (tag, _) = tag.split_once('>').unwrap_or_default();
            let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap_or_default();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        }
        assert!(open.is_empty(), "{open:?}");
        assert_eq!(xml.matches("<testcase ").count(), 3);
        assert!(
            xml.contains("<testsuites name=\"millstream\" tests=\"3\" failures=\"1\" errors=\"1\" time=\"0.024\">")
        );
    }

    #[test]
    fn programs_see_json() {
        let value: serde_json::Value = serde_json::from_str(&json(&suites())).unwrap_or_default();
        assert_eq!(value["failed"], 1);
        assert_eq!(value["files"][0]["tests"][0]["passed"], true);
        assert_eq!(value["files"][1]["wrong"], "error: a\n  & b\n");
    }
}
