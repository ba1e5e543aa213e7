//! Showing what has a digest, from the store alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use ablate_stage::cache::{ActionDigest, ActionResult, Digest, Object, Store};

use super::ancestry::{Source, ancestry};
use super::{Told, action_name, content, entry};
use crate::cli::project::store_here;
use crate::cli::{Context, Failure, exit};
use crate::manifest::Manifest;
use crate::progress::counted;
use crate::runs;

/// Fewer digits name too much.
const LEAST_DIGITS: usize = 6;
/// So many makers or users are listed.
const LISTED: usize = 20;

/// An action the store has the key of.
struct Known {
    manifest: Manifest,
    result: Option<ActionResult>,
}

/// Every action of a store, and what it makes and uses.
struct Actions {
    known: BTreeMap<ActionDigest, Known>,
    /// Content → the actions that made it and their outputs, the first to make it in front.
    makers: BTreeMap<Digest, Vec<(ActionDigest, String)>>,
    /// Content → the actions that use it and their inputs.
    users: BTreeMap<Digest, Vec<(ActionDigest, String)>>,
}

impl Actions {
    fn read(store: &Store) -> Result<Self, Failure> {
        let mut actions = Self { known: BTreeMap::new(), makers: BTreeMap::new(), users: BTreeMap::new() };
        for (action, text) in store.manifests()? {
            let Ok(manifest) = Manifest::parse(&text) else { continue };
            let result = store.recorded_result(&action);
            for (port, digest) in &manifest.inputs {
                actions.users.entry(*digest).or_default().push((action, port.clone()));
            }
            for (port, object) in result.iter().flat_map(|result| &result.outputs) {
                actions.makers.entry(object.digest).or_default().push((action, port.clone()));
            }
            actions.known.insert(action, Known { manifest, result });
        }
        let began = |action: &ActionDigest| {
            actions.known[action].result.as_ref().map(|result| result.provenance.started_unix_ms)
        };
        for makers in actions.makers.values_mut() {
            makers.sort_by_key(|(action, _)| began(action));
        }
        Ok(actions)
    }

    /// The record of an artifact that some action made.
    fn object(&self, digest: &Digest) -> Option<Object> {
        let (action, port) = self.makers.get(digest)?.first()?;
        self.known[action].result.as_ref()?.outputs.get(port).copied()
    }

    fn inputs(&self, store: &Store, action: ActionDigest) -> Vec<Source<ActionDigest>> {
        let inputs = self.known[&action].manifest.inputs.iter().map(|(port, digest)| {
            let Some((maker, output)) = self.makers.get(digest).and_then(|makers| makers.first()) else {
                let text = format!("{port} ← {}, which nothing in the store made", digest.short());
                return Source { text, id: None };
            };
            let name = action_name(&self.known[maker].manifest.kind, maker);
            let object = self.object(digest).expect("what was made is recorded");
            Source {
                text: format!("{port} ← {name}.{output}  {}", content(store, &object)),
                id: Some(*maker),
            }
        });
        inputs.collect()
    }

    /// Actions with the port that concerns them.
    fn lines(&self, actions: Option<&Vec<(ActionDigest, String)>>) -> Vec<String> {
        let actions = actions.map(Vec::as_slice).unwrap_or_default();
        let line = |(action, port): &(ActionDigest, String)| {
            format!("{}.{port}", action_name(&self.known[action].manifest.kind, action))
        };
        let mut lines: Vec<String> = actions.iter().take(LISTED).map(line).collect();
        if actions.len() > LISTED {
            lines.push(format!("… and {} more", actions.len() - LISTED));
        }
        lines
    }

    fn action_text(&self, store: &Store, context: &Context<'_>, action: ActionDigest) -> String {
        let Known { manifest, result } = &self.known[&action];
        let files = manifest.files.iter().map(|(path, digest)| format!("{path}  {}", digest.short()));
        let told = Told {
            title: action_name(&manifest.kind, &action),
            kind: format!("{}, revision {}", manifest.kind, manifest.revision),
            seed: manifest.seed,
            fields: manifest.stage.clone(),
            files: files.collect(),
            action: action.to_string(),
            result: result.as_ref(),
            ports: manifest.stage(context.registry).map(|stage| stage.outputs()).unwrap_or_default(),
        };
        let mut text = told.text(store);
        let outputs = result.iter().flat_map(|result| result.outputs.values());
        let users: Vec<String> =
            outputs.flat_map(|object| self.lines(self.users.get(&object.digest))).collect();
        entry(&mut text, "used by", &users);
        text + &ancestry(action, &|action| self.inputs(store, action))
    }

    fn object_text(&self, store: &Store, digest: &Digest) -> String {
        let mut text = format!("artifact {}\n", digest.short());
        entry(&mut text, "digest", &[digest.to_string()]);
        let object = self.object(digest);
        entry(
            &mut text,
            "content",
            &object.map(|object| content(store, &object)).into_iter().collect::<Vec<_>>(),
        );
        let makers = self.makers.get(digest);
        let nobody = || vec!["nothing in the store".to_owned()];
        entry(
            &mut text,
            "made by",
            &Some(self.lines(makers)).filter(|lines| !lines.is_empty()).unwrap_or_else(nobody),
        );
        let users = self.lines(self.users.get(digest));
        entry(&mut text, "used by", &Some(users).filter(|lines| !lines.is_empty()).unwrap_or_else(nobody));
        if let Some((action, _)) = makers.and_then(|makers| makers.first()) {
            text += &ancestry(*action, &|action| self.inputs(store, action));
        }
        text
    }
}

/// The action or artifact whose digest begins so, or the action that was an instance of that name.
pub(super) fn show(name: &str, context: &Context<'_>) -> Result<String, Failure> {
    let store = store_here(context)?;
    let actions = Actions::read(&store)?;
    let is_hex = name.chars().all(|c| c.is_ascii_hexdigit()) && name.len() <= 64;
    if is_hex && name.len() >= LEAST_DIGITS {
        let prefix = name.to_ascii_lowercase();
        let found: Vec<ActionDigest> =
            actions.known.keys().filter(|action| action.to_hex().starts_with(&prefix)).copied().collect();
        let digests = actions.makers.keys().chain(actions.users.keys());
        let objects: BTreeSet<Digest> =
            digests.filter(|digest| digest.to_hex().starts_with(&prefix)).copied().collect();
        match (found.as_slice(), objects.first(), objects.len()) {
            ([], None, _) => {}
            ([action], None, _) => return Ok(actions.action_text(&store, context, *action)),
            ([], Some(object), 1) => return Ok(actions.object_text(&store, object)),
            (some, _, objects) => {
                let mut message = format!("the digests of {} and ", counted(some.len(), "action"));
                write!(message, "{} begin with `{prefix}`; write more digits", counted(objects, "artifact"))
                    .expect("a string");
                return Err(Failure::new(exit::USAGE, message));
            }
        }
    }
    let unreadable = |error| Failure::new(exit::STORE, format!("cannot read the runs of the store: {error}"));
    let known = |action: &ActionDigest| actions.known.contains_key(action);
    if let Some(action) = runs::action_of(&store, name).map_err(unreadable)?.filter(known) {
        return Ok(actions.action_text(&store, context, action));
    }
    let (code, message) = if !is_hex {
        let why =
            "is no digest, nor an instance of a run; to show a stage, name the pipeline file and the stage";
        (exit::USAGE, format!("`{name}` {why}"))
    } else if name.len() < LEAST_DIGITS {
        let why = format!("is too short: a digest is named by at least {LEAST_DIGITS} digits");
        (exit::USAGE, format!("`{name}` {why}"))
    } else {
        (exit::FAILED, format!("nothing in the store has a digest that begins with `{name}`"))
    };
    Err(Failure::new(code, message))
}
