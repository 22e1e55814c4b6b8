//! Imports follow the layers of `ARCHITECTURE.md`, and no two files import each other. The layers
//! are the `layers` block of that page. A path counts for the file that defines the name: a name
//! re-exported by a folder's `mod.rs` belongs to the file it comes from. A folder's root module
//! composes the folder, so its imports from files in the folder do not count.

#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{Item, ItemUse, UseTree, Visibility, visit::Visit};

type Segments = Vec<String>;

/// A source file: its module path and its syntax.
struct Source {
    file: PathBuf,
    module: Segments,
    syntax: syn::File,
}

/// The names that a file uses in `use` declarations and paths.
#[derive(Default)]
struct Names {
    /// The inline modules that enclose the item being visited.
    inner: Segments,
    paths: Vec<(Segments, Segments)>,
}

/// All modules of the crate.
struct Tree {
    sources: Vec<Source>,
    /// Module path → index of its file.
    modules: BTreeMap<Segments, usize>,
    /// `(module, name)` → where a `pub use` of that module finds the name.
    exports: BTreeMap<(Segments, String), Segments>,
}

#[test]
fn imports_follow_the_layers_of_the_architecture() {
    let (tree, layers) = (Tree::read(), layers());
    let mut wrong = Vec::new();
    for (from, to) in tree.imports() {
        let (from_root, to_root) = (tree.root(from), tree.root(to));
        if from_root == to_root {
            continue;
        }
        let floor = |root: &str| {
            *layers
                .get(root)
                .unwrap_or_else(|| panic!("`{root}` has no place among the layers of ARCHITECTURE.md"))
        };
        if floor(from_root) <= floor(to_root) {
            wrong.push(format!("{} imports {}", tree.name(from), tree.name(to)));
        }
    }
    assert!(wrong.is_empty(), "imports against the layers:\n{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let tree = Tree::read();
    let mut arrows: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (from, to) in tree.imports() {
        arrows.entry(from).or_default().insert(to);
    }
    let reaches = |start: usize| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(file) = next.pop() {
            for to in arrows.get(&file).into_iter().flatten() {
                if seen.insert(*to) {
                    next.push(*to);
                }
            }
        }
        seen
    };
    let all: BTreeMap<usize, BTreeSet<usize>> = (0..tree.sources.len()).map(|file| (file, reaches(file))).collect();
    let mut circles = BTreeSet::new();
    for (file, reached) in &all {
        let circle: BTreeSet<_> = reached
            .iter()
            .filter(|other| all[other].contains(file))
            .copied()
            .collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    let told: Vec<String> = circles
        .iter()
        .map(|circle| {
            let inside = |file: &usize| arrows.get(file).into_iter().flatten().filter(|to| circle.contains(to));
            let lines = circle
                .iter()
                .flat_map(|file| inside(file).map(|to| format!("  {} -> {}", tree.name(*file), tree.name(*to))));
            lines.collect::<Vec<_>>().join("\n")
        })
        .collect();
    assert!(told.is_empty(), "{} circles:\n{}", told.len(), told.join("\n\n"));
}

/// Root module → its layer, 0 at the bottom.
fn layers() -> BTreeMap<String, usize> {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let block = page
        .split("```layers\n")
        .nth(1)
        .expect("a block marked `layers` in ARCHITECTURE.md");
    let lines: Vec<&str> = block.split("```").next().unwrap().lines().collect();
    let mut layers = BTreeMap::new();
    for (floor, line) in lines.iter().rev().enumerate() {
        for module in line.split_whitespace() {
            assert_eq!(
                layers.insert(module.to_owned(), floor),
                None,
                "`{module}` is listed twice"
            );
        }
    }
    layers
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Tree {
    fn read() -> Self {
        let mut files = Vec::new();
        collect(&root().join("src"), &mut files);
        let sources: Vec<Source> = files.into_iter().filter_map(source).collect();
        let modules: BTreeMap<_, _> = sources
            .iter()
            .enumerate()
            .map(|(index, source)| (source.module.clone(), index))
            .collect();
        let mut exports = BTreeMap::new();
        for source in &sources {
            for item in &source.syntax.items {
                let Item::Use(ItemUse { vis, tree, .. }) = item else {
                    continue;
                };
                if matches!(vis, Visibility::Inherited) {
                    continue;
                }
                for (path, name) in used_paths(tree) {
                    if let Some(target) = absolute(&path, &source.module, &modules) {
                        exports.insert((source.module.clone(), name), target);
                    }
                }
            }
        }
        Self {
            sources,
            modules,
            exports,
        }
    }

    /// The files that each file uses, without itself.
    fn imports(&self) -> BTreeSet<(usize, usize)> {
        let mut arrows = BTreeSet::new();
        for (from, source) in self.sources.iter().enumerate() {
            let mut names = Names {
                inner: source.module.clone(),
                paths: Vec::new(),
            };
            names.visit_file(&source.syntax);
            for (module, path) in names.paths {
                let Some(path) = absolute(&path, &module, &self.modules) else {
                    continue;
                };
                let Some(to) = self.file_of(&path) else { continue };
                let composes = self.sources[to].module.starts_with(&source.module);
                if to != from && !composes && !self.sources[to].module.is_empty() && !source.module.is_empty() {
                    arrows.insert((from, to));
                }
            }
        }
        arrows
    }

    /// The file that defines the name of an absolute path.
    fn file_of(&self, path: &[String]) -> Option<usize> {
        let mut path = path.to_vec();
        for _ in 0..16 {
            let module = (0..=path.len())
                .rev()
                .find(|end| self.modules.contains_key(&path[..*end]))?;
            let rest = path.split_off(module);
            let Some(name) = rest.first() else {
                return self.modules.get(&path).copied();
            };
            match self.exports.get(&(path.clone(), name.clone())) {
                Some(target) => path = target.iter().chain(&rest[1..]).cloned().collect(),
                None => return self.modules.get(&path).copied(),
            }
        }
        None
    }

    fn root(&self, file: usize) -> &str {
        &self.sources[file].module[0]
    }

    fn name(&self, file: usize) -> String {
        self.sources[file].file.display().to_string()
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// Reads a file; `None` for files that only tests and fuzz targets compile.
fn source(path: PathBuf) -> Option<Source> {
    let file = path.strip_prefix(root()).unwrap().to_owned();
    let mut module: Segments = file
        .with_extension("")
        .components()
        .skip(1)
        .map(|part| part.as_os_str().to_str().unwrap().to_owned())
        .collect();
    let tests = ["tests", "contract", "fuzzing", "test_support", "main"];
    if module.iter().any(|part| tests.contains(&part.as_str())) {
        return None;
    }
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    let syntax = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
    Some(Source { file, module, syntax })
}

/// The paths of a `use` declaration, each with the name it introduces.
fn used_paths(tree: &UseTree) -> Vec<(Segments, String)> {
    match tree {
        UseTree::Path(path) => prefixed(&path.ident.to_string(), used_paths(&path.tree)),
        UseTree::Name(name) if name.ident == "self" => vec![(vec![], String::new())],
        UseTree::Name(name) => vec![(vec![name.ident.to_string()], name.ident.to_string())],
        UseTree::Rename(rename) => vec![(vec![rename.ident.to_string()], rename.rename.to_string())],
        UseTree::Glob(_) => vec![(vec![], String::new())],
        UseTree::Group(group) => group.items.iter().flat_map(used_paths).collect(),
    }
}

fn prefixed(first: &str, leaves: Vec<(Segments, String)>) -> Vec<(Segments, String)> {
    leaves
        .into_iter()
        .map(|(mut path, name)| {
            path.insert(0, first.to_owned());
            let name = if name.is_empty() { first.to_owned() } else { name };
            (path, name)
        })
        .collect()
}

/// A path from the crate's root; `None` for other crates and locals.
fn absolute(path: &[String], module: &[String], modules: &BTreeMap<Segments, usize>) -> Option<Segments> {
    let mut at = module.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => (at, rest) = (vec![], &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                at.pop()?;
                rest = &rest[1..];
            }
        }
        child => {
            at.push(child.to_owned());
            if !modules.contains_key(&at) {
                return None;
            }
            rest = &path[1..];
        }
    }
    at.extend(rest.iter().cloned());
    Some(at)
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| {
                let condition = list.tokens.to_string();
                condition.contains("test") || condition.contains("fuzzing")
            })
    })
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => return syn::visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.inner.push(module.ident.to_string());
        syn::visit::visit_item_mod(self, module);
        self.inner.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        for (path, _) in used_paths(&item.tree) {
            self.paths.push((self.inner.clone(), path));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.paths.push((self.inner.clone(), segments));
        syn::visit::visit_path(self, path);
    }
}
