//! What actions take up, and what is left.

/// What an action takes up while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// Most threads it can use well; it gets at least one.
    pub cpus: usize,
    /// Memory in MiB; 0 where nothing is known.
    pub memory_mib: u64,
    /// What it takes of a GPU.
    pub gpu: Option<GpuShare>,
}

/// What an action takes of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuShare {
    /// All of it.
    Whole,
    /// That much of its memory, in MiB; others may use the rest.
    Memory(u64),
}

/// What can be used at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Actions at once.
    pub slots: usize,
    /// Threads, shared out among the actions.
    pub cpus: usize,
    /// Memory in MiB. An action that needs more runs beside none that needs any.
    pub memory_mib: u64,
    /// The memory of each GPU in MiB; [`u64::MAX`] where it is not known.
    pub gpus_mib: Vec<u64>,
}

/// What a starting action is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Threads.
    pub threads: usize,
    /// Index of its GPU in [`Capacity::gpus_mib`].
    pub gpu: Option<usize>,
}

/// What of the capacity is free.
#[derive(Clone, Debug)]
pub(super) struct Free {
    pub slots: usize,
    pub cpus: usize,
    memory_mib: u64,
    gpus: Vec<FreeGpu>,
}

#[derive(Clone, Copy, Debug)]
struct FreeGpu {
    memory_mib: u64,
    users: usize,
}

/// Why an action cannot start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    Memory,
    Gpu,
}

impl Free {
    pub fn of(capacity: &Capacity) -> Self {
        let gpus = capacity.gpus_mib.iter().map(|&memory_mib| FreeGpu { memory_mib, users: 0 });
        Self {
            slots: capacity.slots,
            cpus: capacity.cpus,
            memory_mib: capacity.memory_mib,
            gpus: gpus.collect(),
        }
    }

    /// The GPU an action would run on, if it uses one, or what it lacks.
    pub fn place(&self, demand: &Demand, capacity: &Capacity) -> Result<Option<usize>, Lack> {
        let memory_is_held = self.memory_mib < capacity.memory_mib;
        if demand.memory_mib > self.memory_mib && memory_is_held {
            return Err(Lack::Memory);
        }
        let fits = |(index, gpu): &(usize, &FreeGpu)| match demand.gpu {
            Some(GpuShare::Memory(mib)) => mib.min(capacity.gpus_mib[*index]) <= gpu.memory_mib,
            Some(GpuShare::Whole) | None => gpu.users == 0,
        };
        match demand.gpu {
            None => Ok(None),
            // The fullest that has room, so that an empty one is left for who needs it whole.
            Some(_) => {
                let best = self.gpus.iter().enumerate().filter(fits).min_by_key(|(_, gpu)| gpu.memory_mib);
                best.map(|(index, _)| Some(index)).ok_or(Lack::Gpu)
            }
        }
    }

    pub fn take(&mut self, demand: &Demand, grant: Grant) {
        self.slots -= 1;
        self.cpus = self.cpus.saturating_sub(grant.threads);
        self.memory_mib = self.memory_mib.saturating_sub(demand.memory_mib);
        if let Some(index) = grant.gpu {
            let gpu = &mut self.gpus[index];
            gpu.users += 1;
            gpu.memory_mib = match demand.gpu {
                Some(GpuShare::Memory(mib)) => gpu.memory_mib.saturating_sub(mib),
                Some(GpuShare::Whole) | None => 0,
            };
        }
    }
}
