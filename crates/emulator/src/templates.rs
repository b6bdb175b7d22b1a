//! Templates of the account: an image with its settings, which endpoints are made from.

use std::collections::BTreeMap;

/// A template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) args: String,
    pub(crate) disk_gb: u32,
    pub(crate) volume_gb: u32,
    pub(crate) volume_path: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) ports: Vec<String>,
    pub(crate) registry: Option<String>,
    pub(crate) is_serverless: bool,
    pub(crate) is_public: bool,
    pub(crate) readme: String,
}

/// All templates, by id.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    by_id: BTreeMap<String, Template>,
    made: u64,
}

impl Templates {
    /// Stores a template; without an id it gets one.
    pub(crate) fn save(&mut self, mut template: Template) -> Template {
        if template.id.is_empty() {
            self.made += 1;
            template.id = format!("tpl{:07}", self.made);
        }
        self.by_id.insert(template.id.clone(), template.clone());
        template
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Template> {
        self.by_id.get(id)
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Template> {
        self.by_id.remove(id)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Template> {
        self.by_id.values()
    }
}
