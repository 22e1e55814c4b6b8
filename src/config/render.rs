//! The merged configuration as TOML, each value with where it came from.

use super::{
    Config,
    schema::{Leaf, Section, Walker},
    sources::{Loaded, Origins},
};

impl Loaded {
    /// The merged configuration as TOML that could be loaded again, except for what is
    /// masked: passwords in URLs and key material where a path belongs. A field without a
    /// value stands there as a comment.
    #[must_use]
    pub fn to_toml(&self) -> String {
        render(&self.config, &self.origins)
    }
}

fn render(config: &Config, origins: &Origins) -> String {
    let mut printer = Printer {
        origins,
        path: Vec::new(),
        sections: Vec::new(),
    };
    // The walk hands out `&mut`, for the sake of the reader.
    config.clone().fields(&mut printer);
    printer.finish()
}

struct Printer<'a> {
    origins: &'a Origins,
    path: Vec<&'static str>,
    /// Headers with their lines: a subsection must not swallow its parent's later fields.
    sections: Vec<(String, Vec<(String, String)>)>,
}

impl Printer<'_> {
    fn finish(self) -> String {
        let mut text = String::new();
        for (header, lines) in self.sections.iter().filter(|(_, lines)| !lines.is_empty()) {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("[{header}]\n"));
            // One long value shall not push every comment out of sight.
            const WIDEST: usize = 60;
            let widths = lines.iter().map(|(value, _)| value.chars().count());
            let width = widths.max().unwrap_or(0).min(WIDEST);
            for (value, origin) in lines {
                text.push_str(&format!("{value:<width$}  # {origin}\n"));
            }
        }
        text
    }
}

impl Walker for Printer<'_> {
    fn enter(&mut self, name: &'static str) -> bool {
        self.path.push(name);
        self.sections.push((self.path.join("."), Vec::new()));
        true
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    fn wants(&mut self, _name: &'static str) -> bool {
        false
    }

    fn leaf(&mut self, name: &'static str, leaf: &mut dyn Leaf) {
        let header = self.path.join(".");
        let origin = self.origins.of(&format!("{header}.{name}"));
        let line = match leaf.show() {
            Some(value) => (format!("{name} = {value}"), origin.to_string()),
            None => (format!("# {name}"), "not set".into()),
        };
        if let Some((_, lines)) = self.sections.iter_mut().find(|(other, _)| *other == header) {
            lines.push(line);
        }
    }
}
