//! The phrase library: sentence templates by sector and class, slot fillers, and how a template becomes a sentence.
//!
//! The language is data (`text/*.txt`). A template may hold `{slot}`, replaced by one of the slot's fillers, and `[a|b|]`, replaced
//! by one of its options; both expand again. Templates after a line `---` are held out: only the evaluation split of a shipped
//! corpus may use them, never its training split and never the pre-training text.

use std::collections::BTreeMap;

use super::random::Choices;

/// One class of one sector.
#[derive(Debug, Default)]
pub(super) struct Class {
    /// The label, then other names for the same thing.
    pub(super) names: Vec<&'static str>,
    /// Templates for training text.
    pub(super) templates: Vec<&'static str>,
    /// Templates for held-out text only.
    pub(super) held_out: Vec<&'static str>,
}

/// One sector: its classes and the sentences around them.
#[derive(Debug)]
pub(super) struct Sector {
    pub(super) name: &'static str,
    pub(super) classes: Vec<Class>,
    pub(super) openers: Vec<&'static str>,
    pub(super) fillers: Vec<&'static str>,
    pub(super) closers: Vec<&'static str>,
}

/// Every template and slot filler.
#[derive(Debug)]
pub(super) struct Library {
    pub(super) sectors: Vec<Sector>,
    pub(super) micro: Vec<Class>,
    slots: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Library {
    /// Parses the library that is built into the program.
    pub(super) fn load() -> Library {
        let mut frame: BTreeMap<&str, Vec<&'static str>> = BTreeMap::new();
        for (heading, lines) in sections(FRAME) {
            frame.insert(heading, lines);
        }
        let mut around =
            |sector: &str, kind: &str| frame.remove(format!("{sector} {kind}").as_str()).unwrap_or_default();
        let sectors = SECTORS
            .iter()
            .map(|&(name, text)| Sector {
                name,
                classes: classes(text),
                openers: around(name, "opener"),
                fillers: around(name, "filler"),
                closers: around(name, "closer"),
            })
            .collect();
        let slots = content_lines(SLOTS)
            .filter_map(|line| line.split_once(": "))
            .map(|(name, fillers)| (name, split_options(fillers)))
            .collect();
        Library { sectors, micro: classes(MICRO), slots }
    }

    /// Replaces every slot and group of `template` by a drawn filler or option.
    pub(super) fn expand(&self, template: &str, choices: &mut Choices) -> String {
        let mut text = String::new();
        let mut rest = template;
        while let Some(open) = rest.find(['{', '[']) {
            text.push_str(&rest[..open]);
            let closing = if rest[open..].starts_with('{') { '}' } else { ']' };
            let close = open + rest[open..].find(closing).expect("templates are balanced, see the tests");
            let inside = &rest[open + 1..close];
            let chosen = if closing == '}' {
                choices.pick(self.slots.get(inside).expect("templates name known slots, see the tests"))
            } else {
                let options: Vec<&str> = inside.split('|').collect();
                options[choices.below(options.len())]
            };
            text.push_str(&self.expand(chosen, choices));
            rest = &rest[close + 1..];
        }
        text.push_str(rest);
        text
    }
}

fn content_lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with("# "))
}

fn sections(text: &'static str) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in content_lines(text) {
        if let Some(heading) = line.strip_prefix("== ") {
            sections.push((heading, Vec::new()));
        } else if let Some((_, lines)) = sections.last_mut() {
            lines.push(line);
        }
    }
    sections
}

fn classes(text: &'static str) -> Vec<Class> {
    let class = |(heading, lines): (&'static str, Vec<&'static str>)| {
        let mut halves = lines.split(|line| *line == "---");
        Class {
            names: split_options(heading),
            templates: halves.next().unwrap_or_default().to_vec(),
            held_out: halves.next().unwrap_or_default().to_vec(),
        }
    };
    sections(text).into_iter().map(class).collect()
}

/// Splits at ` | `: a `|` without spaces belongs to a group inside an option.
fn split_options(text: &'static str) -> Vec<&'static str> {
    text.split(" | ").map(str::trim).collect()
}

const SECTORS: [(&str, &str); 4] = [
    ("support", include_str!("text/support.txt")),
    ("clinical", include_str!("text/clinical.txt")),
    ("maintenance", include_str!("text/maintenance.txt")),
    ("trade", include_str!("text/trade.txt")),
];
const FRAME: &str = include_str!("text/frame.txt");
const SLOTS: &str = include_str!("text/slots.txt");
const MICRO: &str = include_str!("text/micro.txt");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_large_enough_and_every_template_expands() {
        let library = Library::load();
        assert_eq!(library.sectors.len(), 4);
        let mut choices = Choices::new(1, "test", 0);
        for sector in &library.sectors {
            assert_eq!(sector.classes.len(), 8, "{}", sector.name);
            for lines in [&sector.openers, &sector.fillers, &sector.closers] {
                assert!(lines.len() >= 9, "{}", sector.name);
                lines.iter().for_each(|line| drop(library.expand(line, &mut choices)));
            }
            for class in &sector.classes {
                assert!(class.templates.len() >= 30 && class.names.len() >= 3, "{}", class.names[0]);
                for template in class.templates.iter().chain(&class.held_out) {
                    for _ in 0..40 {
                        let text = library.expand(template, &mut choices);
                        assert!(!text.contains(['{', '}', '[', ']', '|']), "{template} gave {text}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_template_is_written_twice() {
        let library = Library::load();
        let mut seen = std::collections::BTreeSet::new();
        for class in library.sectors.iter().flat_map(|sector| &sector.classes) {
            for template in class.templates.iter().chain(&class.held_out) {
                assert!(seen.insert(*template), "twice: {template}");
            }
        }
    }
}
