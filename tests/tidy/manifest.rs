//! Reads what the checks need of a `Cargo.toml`: its sections, keys and values, line by line. The
//! workspace's manifests are written plainly, one key per line; whatever is not is a complaint.

use crate::tree::Tree;

/// One crate of the workspace.
pub struct Crate {
    /// Folder, relative to the root.
    pub folder: String,
    /// Package name.
    pub name: String,
    /// Package names of what it is built with, `build-dependencies` included.
    pub dependencies: Vec<String>,
    /// Package names of what its tests need besides.
    pub dev_dependencies: Vec<String>,
    /// Files that are roots of its library and binaries.
    pub roots: Vec<String>,
}

/// The workspace's crates, in the order of `members`; or why they cannot be read.
pub fn crates(tree: &Tree) -> Result<Vec<Crate>, String> {
    let root = tree.find("Cargo.toml").ok_or("there is no Cargo.toml")?;
    let mut names = vec![];
    for (section, key, value) in lines(&root.text) {
        if section == "workspace.dependencies" && value.contains("path = ") {
            let package = field(value, "package").unwrap_or(key);
            names.push((key.to_owned(), package.to_owned()));
        }
    }
    let members = root.text.split("members = [").nth(1).and_then(|rest| rest.split(']').next());
    let members = members.ok_or("Cargo.toml has no members")?;
    let folders = members.split('"').skip(1).step_by(2);
    folders.map(|folder| one(tree, folder, &names)).collect()
}

fn one(tree: &Tree, folder: &str, names: &[(String, String)]) -> Result<Crate, String> {
    let path = format!("{folder}/Cargo.toml");
    let file = tree.find(&path).ok_or(format!("{path}: is missing"))?;
    let mut this = Crate {
        folder: folder.into(),
        name: String::new(),
        dependencies: vec![],
        dev_dependencies: vec![],
        roots: vec![],
    };
    for (section, key, value) in lines(&file.text) {
        let last = section.rsplit('.').next().unwrap_or_default();
        match (section, last) {
            ("package", _) if key == "name" => this.name = value.trim_matches('"').into(),
            ("lib" | "[bin]", _) if key == "path" => {
                this.roots.push(format!("{folder}/{}", value.trim_matches('"')));
            }
            (_, "dependencies" | "build-dependencies") => {
                this.dependencies.push(package(key, value, names));
            }
            (_, "dev-dependencies") => this.dev_dependencies.push(package(key, value, names)),
            _ => {}
        }
    }
    for root in ["src/lib.rs", "src/main.rs"] {
        let root = format!("{folder}/{root}");
        if tree.find(&root).is_some() && !this.roots.contains(&root) {
            this.roots.push(root);
        }
    }
    if this.name.is_empty() || this.roots.is_empty() {
        return Err(format!("{path}: has no name or no root"));
    }
    Ok(this)
}

/// The package that a dependency line means.
fn package(key: &str, value: &str, names: &[(String, String)]) -> String {
    let key = key.split('.').next().unwrap_or(key);
    let named = field(value, "package").map(str::to_owned);
    let known = || names.iter().find(|(alias, _)| alias == key).map(|(_, package)| package.clone());
    named.or_else(known).unwrap_or_else(|| key.to_owned())
}

/// A string field of an inline table.
fn field<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let rest = value.split(&format!("{name} = \"")).nth(1)?;
    rest.split('"').next()
}

/// Section, key and value of each line that has them; `[[bin]]` is the section `[bin]`.
pub fn lines(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let mut section = "";
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(" #").next())
            && let Some(name) = name.trim_end().strip_suffix(']')
            && !line.contains('=')
        {
            section = name;
            return None;
        }
        let (key, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
        Some((section, key.trim(), value.trim()))
    })
}

#[test]
fn dependencies_are_found_under_their_package_names() {
    let root = "[workspace]\nmembers = [\n  \"a\",\n]\n[workspace.dependencies]\n\
        port = { path = \"b\", package = \"our-port\" }\nlibc = \"0.2\"\n";
    let a = "[package]\nname = \"x\"\n[dependencies]\nport.workspace = true\n\
        # zip = \"1\"\n[target.'cfg(loom)'.dependencies]\nloom = { workspace = true }\n\
        [dev-dependencies]\nlibc.workspace = true\n[[bin]]\nname = \"x\"\npath = \"go.rs\"\n";
    let tree = Tree::of(&[("Cargo.toml", root), ("a/Cargo.toml", a), ("a/src/lib.rs", "")]);
    let crates = crates(&tree).unwrap();
    assert_eq!(crates[0].dependencies, ["our-port", "loom"]);
    assert_eq!(crates[0].dev_dependencies, ["libc"]);
    assert_eq!(crates[0].roots, ["a/go.rs", "a/src/lib.rs"]);
}
