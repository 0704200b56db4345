/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The model that test-rules holds beside the program. */
#include "rules-model.h"

#include <string.h>

void
model_init(struct model *m)
{
    memset(m, 0, sizeof *m);
    m->cpus = m->max = m->sockets = m->cores = m->threads = 1;
    for (int i = 0; i < CPUS; i++)
        m->cpu[i] = -1;
    memset(m->lb, -1, sizeof m->lb);
}

int
model_smp(struct model *m, int cpus, int max, int s, int c, int t)
{
    int total = max ? max : cpus;

    if (!total) {
        s = s ? s : 1, c = c ? c : 1, t = t ? t : 1;
        total = s * c * t;
    } else if (!c) {
        s = s ? s : 1, t = t ? t : 1;
        c = total / (s * t);
    } else if (!s) {
        t = t ? t : 1;
        s = total / (c * t);
    } else if (!t) {
        t = total / (s * c);
    }
    if (s * c * t != total || (cpus && cpus > total))
        return 0;
    for (int i = total; i < CPUS; i++)
        if (m->cpu[i] >= 0)
            return 0;
    m->cpus = cpus ? cpus : total, m->max = total;
    m->sockets = s, m->cores = c, m->threads = t;
    return 1;
}

int
model_owner(const struct model *m, int backend)
{
    for (int i = 0; i < NODES; i++)
        if (m->node[i].present && m->node[i].dev == backend)
            return i;
    return -1;
}

int
model_node(struct model *m, int id, uint32_t cpus, int64_t mem, int dev, int initiator)
{
    int any_mem = mem >= 0, any_dev = dev >= 0;

    if (id < 0)
        id = m->count;
    if (id >= NODES || m->node[id].present)
        return 0;
    for (int i = 0; i < CPUS; i++)
        if ((cpus >> i & 1) && (i >= m->max || m->cpu[i] >= 0))
            return 0;
    for (int i = 0; i < NODES; i++) {
        any_mem |= m->node[i].present && m->node[i].has_mem;
        any_dev |= m->node[i].present && m->node[i].dev >= 0;
    }
    if ((any_mem && any_dev) || (dev >= 0 && (!m->backend[dev] || model_owner(m, dev) >= 0)))
        return 0;
    if (initiator >= 0 && (!m->hmat || (cpus && initiator != id)))
        return 0;
    m->node[id] = (struct model_node) { 1, mem >= 0, dev, initiator, mem >= 0 ? (uint64_t)mem : 0 };
    m->order[m->count++] = id;
    for (int i = 0; i < CPUS; i++)
        if (cpus >> i & 1)
            m->cpu[i] = id;
    return 1;
}

int
model_dist(struct model *m, int a, int b, int val)
{
    if (!m->node[a].present || !m->node[b].present || val < 10 || (a == b && val != 10))
        return 0;
    m->dist[a][b] = val;
    return 1;
}

/* -1: all. */
static int
model_matches(const struct model *m, int i, int s, int c, int t)
{
    return (s < 0 || i / (m->cores * m->threads) == s) && (c < 0 || i / m->threads % m->cores == c)
        && (t < 0 || i % m->threads == t);
}

int
model_cpu(struct model *m, int node, int s, int c, int t)
{
    int found = 0, n = node;

    if (n < 0 || !m->node[n].present || (m->hmat && m->node[n].initiator >= 0 && m->node[n].initiator != n))
        return 0;
    for (int i = 0; i < m->max; i++)
        if (model_matches(m, i, s, c, t)) {
            found = 1;
            if (m->cpu[i] >= 0 && m->cpu[i] != n)
                return 0;
        }
    for (int i = 0; found && i < m->max; i++)
        if (model_matches(m, i, s, c, t))
            m->cpu[i] = n;
    return found;
}

int
model_uncpu(struct model *m, int node, int s, int c, int t)
{
    int found = 0, before[CPUS];

    memcpy(before, m->cpu, sizeof before);
    if (node >= 0 && !m->node[node].present)
        return 0;
    for (int i = 0; i < m->max; i++)
        if (m->cpu[i] >= 0 && model_matches(m, i, s, c, t) && (node < 0 || m->cpu[i] == node)) {
            m->cpu[i] = -1;
            found = 1;
        }
    for (int i = 0; i < TABLES * NODES * NODES; i++) {
        int from = i / NODES % NODES, cpus = 0;

        for (int k = 0; k < CPUS; k++)
            cpus |= m->cpu[k] == from;
        if ((&m->lb[0][0][0])[i] >= 0 && !cpus) {
            memcpy(m->cpu, before, sizeof before);
            return 0;
        }
    }
    return found;
}

int
model_delete(struct model *m, int id)
{
    int kept = 0;

    if (!m->node[id].present)
        return 0;
    m->node[id].present = 0;
    for (int i = 0; i < m->count; i++)
        if (m->order[i] != id)
            m->order[kept++] = m->order[i];
    m->count = kept;
    for (int i = 0; i < CPUS; i++)
        if (m->cpu[i] == id)
            m->cpu[i] = -1;
    for (int i = 0; i < NODES; i++) {
        m->dist[id][i] = m->dist[i][id] = 0;
        for (int t = 0; t < TABLES; t++)
            m->lb[t][id][i] = m->lb[t][i][id] = -1;
    }
    return 1;
}

/* Some step must divide all values and count each below 65535: powers of ten for latency, of two for bandwidth. */
static int
model_encodes(int64_t table[NODES][NODES], int factor)
{
    int64_t largest = 1, top = 0;

    for (int64_t step = 1; step <= INT64_C(1) << 40; step *= factor) {
        int divides = 1;

        for (int i = 0; i < NODES * NODES; i++) {
            int64_t v = table[i / NODES][i % NODES];

            divides &= v <= 0 || v % step == 0;
            top = v > top ? v : top;
        }
        if (divides)
            largest = step;
    }
    return top / largest < 65535;
}

int
model_lb(struct model *m, int which, int from, int to, int64_t value)
{
    int cpus = 0;

    for (int i = 0; i < CPUS; i++)
        cpus |= m->cpu[i] == from;
    if (!m->hmat || !m->node[from].present || !m->node[to].present || !cpus || m->lb[which][from][to] >= 0)
        return 0;
    m->lb[which][from][to] = value;
    if (model_encodes(m->lb[which], which < 2 ? 10 : 2))
        return 1;
    m->lb[which][from][to] = -1;
    return 0;
}

int
model_machine(struct model *m, int split, int hmat)
{
    int used = 0;

    for (int i = 0; i < NODES; i++)
        used |= m->node[i].present && m->node[i].initiator >= 0;
    for (int i = 0; i < TABLES * NODES * NODES; i++)
        used |= (&m->lb[0][0][0])[i] >= 0;
    if (hmat == 0 && used)
        return 0;
    m->split = split >= 0 ? split : m->split;
    m->hmat = hmat >= 0 ? hmat : m->hmat;
    return 1;
}

/* --- what comes out of the model -------------------------------------------------------------------------------- */

static uint64_t
model_size(const struct model *m, int id)
{
    const struct model_node *n = &m->node[id];

    return !n->present ? 0 : n->has_mem ? n->mem : n->dev >= 0 ? m->backend[n->dev] : 0;
}

static uint64_t
model_ram(const struct model *m)
{
    uint64_t backends = 0;

    for (int i = 0; i < NODES; i++)
        backends += m->node[i].present && m->node[i].dev >= 0 ? m->backend[m->node[i].dev] : 0;
    return m->memory ? m->memory : backends ? backends : 128;
}

uint64_t
model_sizes(const struct model *m, uint64_t sizes[NODES])
{
    uint64_t sum = 0, ram = model_ram(m) << 20, rest = 0, given = 0;
    int left = m->count;

    for (int i = 0; i < NODES; i++) {
        sizes[i] = model_size(m, i) << 20;
        sum += sizes[i];
    }
    if (sum || !m->count || m->split == 2)
        return sum;
    for (int i = 0; i < NODES; i++) {
        if (!m->node[i].present)
            continue;
        rest += ram / (uint64_t)m->count;
        sizes[i] = rest >> 23 << 23;
        rest = m->split == 1 ? 0 : rest - sizes[i];
        if (--left == 0)
            sizes[i] = ram - given;
        given += sizes[i];
    }
    return ram;
}

int
model_place(const struct model *m, int i)
{
    int mapped = 0;

    for (int k = 0; k < CPUS; k++)
        mapped |= m->cpu[k] >= 0;
    return m->cpu[i] >= 0 ? m->cpu[i] : mapped ? 0 : i / (m->cores * m->threads) % m->count;
}

static int
model_has_cpus(const struct model *m, int node)
{
    for (int i = 0; i < m->max; i++)
        if (model_place(m, i) == node)
            return 1;
    return 0;
}

static int
model_distances_complete(const struct model *m)
{
    int any = 0, both = 0, good = 1;

    for (int a = 0; a < NODES; a++)
        for (int b = 0; b < NODES; b++) {
            any |= m->dist[a][b] > 0;
            both |= m->dist[a][b] && m->dist[b][a] && m->dist[a][b] != m->dist[b][a];
        }
    for (int a = 0; any && a < NODES; a++)
        for (int b = 0; b < NODES; b++)
            if (a != b && m->node[a].present && m->node[b].present)
                good &= both ? m->dist[a][b] > 0 : m->dist[a][b] || m->dist[b][a];
    return good;
}

int
model_complete(const struct model *m)
{
    uint64_t sizes[NODES], sum = model_sizes(m, sizes);

    if (model_ram(m) < 16)
        return 0;
    if (!m->count)
        return 1;
    for (int i = 0; i < m->count; i++)
        if (!m->node[i].present)
            return 0;
    for (int i = 0; i < NODES; i++) {
        int initiator = m->node[i].present ? m->node[i].initiator : -1;

        if (initiator >= 0 && (!m->node[initiator].present || !model_has_cpus(m, initiator)))
            return 0;
    }
    return sum == model_ram(m) << 20 && model_distances_complete(m);
}
