//! The work of reading the character classes of a regular expression.

use std::collections::HashMap;

use regex_syntax::{
    Parser,
    ast::{self, Ast, ClassSetItem},
    hir::{Class, ClassUnicodeRange, HirKind},
};

/// Returns the work for a pattern: for each class, the product of its items and ranges, and under
/// the flag `i` its characters, each of which is folded. Only the syntax is read for it, and each
/// distinct property of Unicode once.
pub(super) fn of(pattern: &str) -> u64 {
    let translated = jsonschema_regex::to_rust_regex(pattern);
    let Ok(translated) = translated else { return 0 };
    let Ok(ast) = ast::parse::Parser::new().parse(&translated) else {
        return 0;
    };
    let work = ClassWork {
        pattern: &translated,
        ..ClassWork::default()
    };
    ast::visit(&ast, work).unwrap_or(0)
}

/// The work of reading the classes of a pattern, gathered from its syntax.
#[derive(Default)]
struct ClassWork<'p> {
    pattern: &'p str,
    /// Items and ranges of the present class.
    items: u64,
    ranges: u64,
    sum: u64,
    characters: u64,
    folds: bool,
    known: HashMap<&'p str, (u64, u64)>,
}

impl<'p> ClassWork<'p> {
    fn add(&mut self, (ranges, characters): (u64, u64)) {
        self.items += 1;
        self.ranges += ranges;
        self.characters += characters;
    }

    /// Adds a class of Unicode.
    fn add_property(&mut self, span: &ast::Span) {
        let text = &self.pattern[span.start.offset..span.end.offset];
        let size = self.known.entry(text).or_insert_with(|| {
            let Ok(hir) = Parser::new().parse(text) else {
                return (0, 0);
            };
            let HirKind::Class(Class::Unicode(class)) = hir.kind() else {
                return (0, 0);
            };
            let width = |it: &ClassUnicodeRange| u64::from(it.end()) - u64::from(it.start()) + 1;
            let ranges = class.ranges();
            (ranges.len() as u64, ranges.iter().map(width).sum())
        });
        let size = *size;
        self.add(size);
    }

    /// Ends a class. Each item was merged into the ranges so far.
    fn end_class(&mut self) {
        self.sum += std::mem::take(&mut self.items) * std::mem::take(&mut self.ranges);
    }
}

impl ast::Visitor for ClassWork<'_> {
    type Output = u64;
    type Err = ();

    fn finish(self) -> Result<u64, ()> {
        let folded = if self.folds { self.characters } else { 0 };
        Ok(self.sum + folded)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), ()> {
        let flags = match ast {
            Ast::Flags(set) => Some(&set.flags),
            Ast::Group(group) => group.flags(),
            _ => None,
        };
        let folds = flags.and_then(|it| it.flag_state(ast::Flag::CaseInsensitive));
        self.folds |= folds == Some(true);
        Ok(())
    }

    fn visit_post(&mut self, ast: &Ast) -> Result<(), ()> {
        match ast {
            Ast::ClassUnicode(class) => {
                self.add_property(&class.span);
                self.end_class();
            }
            Ast::ClassBracketed(_) => self.end_class(),
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_post(&mut self, item: &ClassSetItem) -> Result<(), ()> {
        match item {
            ClassSetItem::Range(range) => {
                let (start, end) = (u64::from(range.start.c), u64::from(range.end.c));
                self.add((1, end - start + 1));
            }
            ClassSetItem::Unicode(class) => self.add_property(&class.span),
            _ => self.add((1, 1)),
        }
        Ok(())
    }
}
