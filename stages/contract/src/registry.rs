//! The stage kinds a program knows.

use std::collections::BTreeMap;

use crate::{Device, DynStage, Preset, Stage};

/// Reads a stage of one kind from any self-describing format.
pub type ParseStage =
    fn(&mut dyn erased_serde::Deserializer<'_>) -> Result<Box<dyn DynStage>, erased_serde::Error>;

/// A stage kind as plain data and function pointers.
#[derive(Clone, Copy)]
pub struct StageKind {
    /// [`Stage::KIND`].
    pub name: &'static str,
    /// [`Stage::REVISION`].
    pub revision: u32,
    /// [`Stage::SEEDED`].
    pub seeded: bool,
    /// Reads a stage from any self-describing format.
    pub parse: ParseStage,
    /// The JSON schema of its fields, with their doc comments.
    pub schema: fn() -> schemars::Schema,
    /// [`Stage::presets`].
    pub presets: fn() -> Vec<(&'static str, Vec<Preset>)>,
}

impl StageKind {
    fn of<S: Stage>() -> Self {
        Self {
            name: S::KIND,
            revision: S::REVISION,
            seeded: S::SEEDED,
            parse: |deserializer| Ok(Box::new(erased_serde::deserialize::<S>(deserializer)?)),
            schema: || schemars::schema_for!(S),
            presets: S::presets,
        }
    }
}

/// The stage kinds a program knows, and the devices it can use.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, StageKind>,
    accelerators: Option<fn() -> Vec<Device>>,
}

impl Registry {
    /// One without any kind.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind.
    ///
    /// # Panics
    /// When two kinds have one name.
    #[must_use]
    pub fn with<S: Stage>(mut self) -> Self {
        let earlier = self.kinds.insert(S::KIND, StageKind::of::<S>());
        assert!(earlier.is_none(), "two stage kinds are called `{}`", S::KIND);
        self
    }

    /// Sets the function that lists the accelerators there are.
    #[must_use]
    pub fn with_accelerators(mut self, list: fn() -> Vec<Device>) -> Self {
        self.accelerators = Some(list);
        self
    }

    /// The accelerators of this machine that the program can use.
    pub fn accelerators(&self) -> Vec<Device> {
        self.accelerators.map_or_else(Vec::new, |list| list())
    }

    /// A kind by name.
    pub fn get(&self, name: &str) -> Option<&StageKind> {
        self.kinds.get(name)
    }

    /// Every kind, in order of name.
    pub fn kinds(&self) -> impl Iterator<Item = &StageKind> {
        self.kinds.values()
    }
}
