//! A recipe at work: what its objectives remember between steps, and the graph they are about.

use std::sync::Arc;

use ablate_data::{Augmentation, ImageSet, NeighbourViews, Pick};
use ablate_stage::{BadArtifact, Job, StageError, Tensors};
use burn::prelude::*;
use burn::tensor::activation::softmax;

use super::nnclr::SupportSet;
use super::recipe::{Loss, Needs, Objective, Partner, Recipe, RgcForm};
use super::selection::Best;
use crate::encoder::Encoder;
use crate::feedback::{History, NeighbourGraph};
use crate::head::Mlp;
use crate::losses::{agc, cluster_entropy, nnclr, normalise, nt_xent, rgc, rgc_published, simclr_onesided};
use crate::measured::{Measure, Measured};
use crate::rows::upload;
use crate::training::{Curriculum, Losses, Pass, Task, Wanted};
use crate::watch::Watch;
use crate::weights::{Mode, Weights, host};

/// A recipe, and everything it remembers.
pub(super) struct Learner {
    recipe: Recipe,
    /// How neighbours are shown.
    augmentation: Augmentation,
    images: Arc<ImageSet>,
    curriculum: Curriculum,
    /// By objective: the support set of NNCLR.
    support: Vec<Option<SupportSet>>,
    history: Option<History>,
    graph: Option<NeighbourGraph>,
    /// How the cluster head is looked at, and whether the best network is kept.
    watch: Option<Watch>,
    selects: bool,
    best: Option<Best>,
    /// Numbers of the network's sizes, to read others into.
    sizes: Weights,
    measured: Measured,
}

/// The network's outputs for the views of a batch.
struct Outputs {
    /// Of either view.
    z: Option<[Tensor<2>; 2]>,
    p: Option<[Tensor<2>; 2]>,
    /// Cluster probabilities of the first view, the second, and a neighbour drawn at random.
    o: [Option<Tensor<2>>; 3],
    /// z of the neighbours listed, nearest first.
    listed: Vec<Tensor<2>>,
}

impl Learner {
    /// One that has learned nothing, of an encoder with the heads of the recipe.
    pub fn new(
        recipe: Recipe,
        encoder: &Encoder,
        images: &Arc<ImageSet>,
        curriculum: Curriculum,
        augmentation: Augmentation,
        (watch, selects): (Option<Watch>, bool),
        seed: u64,
    ) -> Self {
        let backbone = encoder.architecture().backbone;
        let dim = recipe.projector.as_ref().map_or(backbone.features(), Mlp::output);
        let support = |term: &Objective| match term.loss {
            Loss::NnClr { queue, .. } => Some(SupportSet::new(queue, dim, seed)),
            Loss::NtXent { .. }
            | Loss::SimClrOneSided { .. }
            | Loss::Rgc { .. }
            | Loss::Agc { .. }
            | Loss::ClusterEntropy => None,
        };
        Self {
            support: recipe.objectives.iter().map(support).collect(),
            history: recipe.graph.map(|graph| History::new(images.len(), dim, graph.history)),
            recipe,
            augmentation,
            images: Arc::clone(images),
            curriculum,
            graph: None,
            watch,
            selects,
            best: None,
            sizes: encoder.weights.clone(),
            measured: Measured::default(),
        }
    }

    /// Gives `encoder` the weights that were selected, and returns what they are.
    pub fn select(&mut self, encoder: &mut Encoder) -> Option<Best> {
        let best = self.best.take()?;
        encoder.weights = best.weights.clone();
        Some(best)
    }

    /// The figures taken after epochs.
    pub fn measured(&self) -> &Measured {
        &self.measured
    }

    /// The last purity of all neighbours listed.
    pub fn last_purity(&self) -> Option<f64> {
        self.measured.last(Measure::Purity(self.recipe.graph?.k))
    }

    /// Shows the network what the objectives of the epoch need. The neighbours listed come first, then the images' own views,
    /// then the neighbours drawn at random; each group of neighbours is a batch of its own to the batch norms.
    fn outputs(&self, pass: &mut Pass<'_>, needs: Needs) -> Outputs {
        let (own, neighbours) = pass.views.split_at(2);
        let (listed, random) = neighbours.split_at(needs.listed);
        let encoder = &mut *pass.encoder;
        let mut project = |view: &Tensor<4>| {
            let h = encoder.features(view.clone(), Mode::Train);
            encoder.project(h, Mode::Train)
        };
        let listed = listed.iter().map(&mut project).collect();

        let halves = |both: Tensor<2>| {
            let batch = both.dims()[0] / 2;
            [both.clone().narrow(0, 0, batch), both.narrow(0, batch, batch)]
        };
        let (h, z, p);
        if self.recipe.together {
            let both = encoder.features(Tensor::cat(own.to_vec(), 0), Mode::Train);
            let z_both = needs.projections.then(|| encoder.project(both.clone(), Mode::Train));
            p = z_both.clone().filter(|_| needs.predictions).map(|z| halves(encoder.predict(z, Mode::Train)));
            z = z_both.map(halves);
            h = halves(both);
        } else {
            h = [&own[0], &own[1]].map(|view| encoder.features(view.clone(), Mode::Train));
            z = needs.projections.then(|| h.clone().map(|h| encoder.project(h, Mode::Train)));
            p = z.clone().filter(|_| needs.predictions).map(|z| z.map(|z| encoder.predict(z, Mode::Train)));
        }
        let [first, second] = h;
        let random = needs.random.then(|| encoder.features(random[0].clone(), Mode::Train));
        let wanted = [
            Some(first).filter(|_| needs.clusters),
            Some(second).filter(|_| needs.clusters_of_second),
            random,
        ];
        let o = wanted.map(|h| h.map(|h| softmax(encoder.cluster(h, Mode::Train), 1)));
        Outputs { z, p, o, listed }
    }

    /// The loss of an objective.
    fn term(&mut self, at: usize, rows: &[u32], outputs: &Outputs) -> Option<Tensor<1>> {
        let z = || outputs.z.clone().expect("the objective needs projections");
        let o = || outputs.o[0].clone().expect("the objective needs clusters");
        match self.recipe.objectives[at].loss {
            Loss::NtXent { temperature } => {
                let [z, z_prime] = z();
                Some(nt_xent(z, z_prime, temperature))
            }
            Loss::NnClr { temperature, .. } => {
                let [p, p_prime] = outputs.p.clone().expect("the objective needs predictions");
                let [z, z_prime] = z().map(|z| normalise(z.without_autodiff()));
                let support = self.support[at].as_mut().expect("the objective has a support set");
                let near = [&z, &z_prime].map(|z| support.nearest(z.clone()));
                let [n, n_prime] = near;
                let loss = nnclr(n, n_prime, p, p_prime, temperature);
                support.enqueue(&host(z_prime));
                Some(loss)
            }
            Loss::SimClrOneSided { temperature } => {
                let [z, z_prime] = z();
                Some(simclr_onesided(z, z_prime, temperature))
            }
            Loss::Rgc { temperature, form, shown } => {
                let graph = self.graph.as_ref().expect("the objective begins after the first graph");
                let listed = &outputs.listed[..shown.min(graph.each())];
                let [z, z_prime] = z();
                match form {
                    RgcForm::AsReleased => {
                        let weights = graph.weights(rows, listed.len());
                        let device = z.device().without_autodiff();
                        let weights = upload(weights, [rows.len(), listed.len()], &device);
                        Some(rgc(z, z_prime, listed, weights, temperature))
                    }
                    RgcForm::AsPublished => {
                        let laplacian = graph.laplacians(rows, listed.len());
                        let views = [std::slice::from_ref(&z_prime), listed].concat();
                        rgc_published(z_prime, Tensor::cat(views, 0), &laplacian, temperature)
                    }
                }
            }
            Loss::Agc { temperature, partner } => {
                let r = match partner {
                    Partner::Neighbour => &outputs.o[2],
                    Partner::Itself => &outputs.o[1],
                };
                Some(agc(o(), r.clone().expect("the objective needs a partner"), temperature))
            }
            Loss::ClusterEntropy => Some(cluster_entropy(o())),
        }
    }

    /// Makes the graph of the images the next epoch sees, and measures it.
    fn join(&mut self, epoch: usize, k: usize) -> Result<(), StageError> {
        let rows = self.curriculum.rows(epoch + 1);
        let history = self.history.as_mut().expect("there is a history where there is a graph");
        if let Some(place) = self.recipe.misplace_from.filter(|_| self.curriculum.change() == Some(epoch + 1))
        {
            // Places count the train images, then the unlabelled ones, which are gone from now on.
            let gone = self.curriculum.rows(epoch).iter().filter(|row| rows.binary_search(row).is_err());
            let from: Vec<u32> = rows.iter().take(place).chain(gone).take(rows.len()).copied().collect();
            history.misplace(&from, rows);
        }
        let graph = NeighbourGraph::build(self.images.len(), rows, &history.means(rows), k)
            .map_err(|error| StageError::input("images", error))?;
        let mut counts = vec![1, k];
        counts.dedup();
        for k in counts {
            if let Some(value) = graph.purity(rows, &self.images.labels, k) {
                self.measured.push(epoch, Measure::Purity(k), value);
            }
        }
        self.graph = Some(graph);
        Ok(())
    }
}

impl Task for Learner {
    fn parts(&self) -> Vec<String> {
        self.recipe.parts()
    }

    fn losses(&mut self, pass: &mut Pass<'_>) -> Losses {
        let needs = self.recipe.needs(pass.epoch);
        let outputs = self.outputs(pass, needs);
        let mut total: Option<Tensor<1>> = None;
        let mut parts = vec![None; self.recipe.objectives.len()];
        for (at, part) in parts.iter_mut().enumerate() {
            let Objective { weight, .. } = self.recipe.objectives[at];
            if !self.recipe.objectives[at].counts_in(pass.epoch) {
                continue;
            }
            if let Some(loss) = self.term(at, pass.rows, &outputs) {
                *part = Some(loss.clone().without_autodiff());
                let loss = if weight == 1.0 { loss } else { loss.mul_scalar(weight) };
                total = Some(match total {
                    Some(total) => total + loss,
                    None => loss,
                });
            }
        }
        if let (Some(history), Some(graph)) = (&mut self.history, self.recipe.graph)
            && graph.records(pass.epoch)
        {
            let [_, z_prime] = outputs.z.expect("they are needed where they are recorded");
            history.push(pass.rows, &host(normalise(z_prime.without_autodiff())));
        }
        parts.truncate(self.recipe.parts().len());
        Losses { total, parts }
    }

    fn wanted(&self, epoch: usize) -> Wanted {
        let needs = self.recipe.needs(epoch);
        let picks = (0..needs.listed).map(Pick::Listed).chain(needs.random.then_some(Pick::Random));
        let picks: Vec<Pick> = picks.collect();
        let views = self.graph.as_ref().filter(|_| !picks.is_empty()).map(|graph| NeighbourViews {
            lists: Arc::clone(graph.lists()),
            each: graph.each(),
            picks,
            augmentation: self.augmentation.clone(),
        });
        Wanted { neighbours: views, until: self.recipe.changes_after(epoch) }
    }

    fn after_epoch(
        &mut self,
        epoch: usize,
        encoder: &mut Encoder,
        job: &mut Job<'_>,
    ) -> Result<(), StageError> {
        if let Some(graph) = self.recipe.graph.filter(|graph| graph.is_due(epoch)) {
            self.join(epoch, graph.k)?;
        }
        if let Some(watch) = self.watch.as_ref().filter(|watch| watch.is_due(epoch))
            && let Some(acc) = watch.accuracy(encoder, &self.images, self.curriculum.rows(epoch), job)?
        {
            self.measured.push(epoch, Measure::Accuracy, acc);
            if self.selects && self.best.as_ref().is_none_or(|best| acc > best.acc) {
                self.best = Some(Best { epoch, acc, weights: encoder.weights.clone() });
            }
        }
        Ok(())
    }

    fn store(&self, prefix: &str, mut tensors: Tensors) -> Tensors {
        for (at, support) in self.support.iter().enumerate() {
            if let Some(support) = support {
                tensors = support.store(&format!("{prefix}{at}/"), tensors);
            }
        }
        if let Some(history) = &self.history {
            tensors = history.store(&format!("{prefix}history/"), tensors);
        }
        if let Some(graph) = &self.graph {
            tensors = graph.store(&format!("{prefix}graph/"), tensors);
        }
        if let Some(best) = &self.best {
            tensors = best.store(&format!("{prefix}best/"), tensors);
        }
        self.measured.store(&format!("{prefix}progress"), tensors)
    }

    fn load(&mut self, prefix: &str, tensors: &Tensors) -> Result<(), BadArtifact> {
        let (mut support, mut history) = (self.support.clone(), self.history.clone());
        for (at, support) in support.iter_mut().enumerate() {
            if let Some(support) = support {
                support.load(&format!("{prefix}{at}/"), tensors)?;
            }
        }
        if let Some(history) = &mut history {
            history.load(&format!("{prefix}history/"), tensors)?;
        }
        let each = self.recipe.graph.map_or(0, |graph| graph.k + 1);
        let graph = NeighbourGraph::load(&format!("{prefix}graph/"), tensors, self.images.len(), each)?;
        let best = Best::load(&format!("{prefix}best/"), tensors, self.sizes.clone())?;
        let measured = Measured::load(&format!("{prefix}progress"), tensors)?;
        (self.support, self.history, self.graph, self.measured) = (support, history, graph, measured);
        self.best = best;
        Ok(())
    }
}
