/*
 * A thick shim over libdpdk: what the headers keep inline or in thread-local storage, and what
 * takes several calls, becomes one function here. Errors are negative errno values.
 * Built against 22.11; the few places that differ in newer versions ask RTE_VERSION.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_spinlock.h>
#include <rte_stack.h>
#include <rte_telemetry.h>
#include <rte_version.h>

#include "shim.h"

#if RTE_VERSION < RTE_VERSION_NUM(22, 11, 0, 0)
#error "DPDK 22.11 or newer is needed"
#endif

/* The fields Rust reads and writes by itself; types.rs says the same offsets. */
_Static_assert(offsetof(struct rte_mbuf, buf_addr) == 0, "rte_mbuf.buf_addr moved");
_Static_assert(offsetof(struct rte_mbuf, data_off) == 16, "rte_mbuf.data_off moved");
_Static_assert(offsetof(struct rte_mbuf, refcnt) == 18, "rte_mbuf.refcnt moved");
_Static_assert(offsetof(struct rte_mbuf, nb_segs) == 20, "rte_mbuf.nb_segs moved");
_Static_assert(offsetof(struct rte_mbuf, port) == 22, "rte_mbuf.port moved");
_Static_assert(offsetof(struct rte_mbuf, ol_flags) == 24, "rte_mbuf.ol_flags moved");
_Static_assert(offsetof(struct rte_mbuf, pkt_len) == 36, "rte_mbuf.pkt_len moved");
_Static_assert(offsetof(struct rte_mbuf, data_len) == 40, "rte_mbuf.data_len moved");
_Static_assert(offsetof(struct rte_mbuf, buf_len) == 54, "rte_mbuf.buf_len moved");
_Static_assert(sizeof(struct rte_mbuf) == 128, "rte_mbuf changed its size");
_Static_assert(RTE_ETH_NAME_MAX_LEN <= RL_NAME_MAX, "device names outgrew the ABI");
_Static_assert(RTE_ETH_XSTATS_NAME_SIZE <= RL_NAME_MAX, "statistics names outgrew the ABI");

/* ---- layout: what tests/layout.rs compares ---- */

struct rl_fact {
	const char *name;
	uint64_t value;
};

#define OFFSET(s, f) { #s "." #f, offsetof(struct s, f) }
#define SIZE(s) { "sizeof " #s, sizeof(struct s) }
#define VALUE(c) { #c, (uint64_t)(c) }

static const struct rl_fact facts[] = {
	SIZE(rte_mbuf), OFFSET(rte_mbuf, buf_addr), OFFSET(rte_mbuf, data_off),
	OFFSET(rte_mbuf, refcnt), OFFSET(rte_mbuf, nb_segs), OFFSET(rte_mbuf, port),
	OFFSET(rte_mbuf, ol_flags), OFFSET(rte_mbuf, pkt_len), OFFSET(rte_mbuf, data_len),
	OFFSET(rte_mbuf, buf_len),
	SIZE(rl_eth_info), OFFSET(rl_eth_info, driver), OFFSET(rl_eth_info, name),
	OFFSET(rl_eth_info, rx_offloads), OFFSET(rl_eth_info, tx_offloads),
	OFFSET(rl_eth_info, rss_types), OFFSET(rl_eth_info, socket),
	OFFSET(rl_eth_info, link_mbps), OFFSET(rl_eth_info, rx_queues_max),
	OFFSET(rl_eth_info, tx_queues_max), OFFSET(rl_eth_info, rx_desc_min),
	OFFSET(rl_eth_info, rx_desc_max), OFFSET(rl_eth_info, tx_desc_min),
	OFFSET(rl_eth_info, tx_desc_max), OFFSET(rl_eth_info, mtu),
	OFFSET(rl_eth_info, mtu_min), OFFSET(rl_eth_info, mtu_max), OFFSET(rl_eth_info, mac),
	OFFSET(rl_eth_info, link_up),
	SIZE(rl_eth_conf), OFFSET(rl_eth_conf, rx_offloads), OFFSET(rl_eth_conf, tx_offloads),
	OFFSET(rl_eth_conf, queues), OFFSET(rl_eth_conf, rx_desc), OFFSET(rl_eth_conf, rss),
	OFFSET(rl_eth_conf, tx_desc), OFFSET(rl_eth_conf, mtu), OFFSET(rl_eth_conf, promiscuous),
	OFFSET(rl_eth_conf, allmulticast),
	SIZE(rl_eth_stats), OFFSET(rl_eth_stats, rx_packets), OFFSET(rl_eth_stats, tx_packets),
	OFFSET(rl_eth_stats, rx_bytes), OFFSET(rl_eth_stats, tx_bytes),
	OFFSET(rl_eth_stats, rx_missed), OFFSET(rl_eth_stats, rx_errors),
	OFFSET(rl_eth_stats, tx_errors), OFFSET(rl_eth_stats, rx_no_mbuf),
	SIZE(rl_xstat), OFFSET(rl_xstat, name), OFFSET(rl_xstat, value),
	VALUE(RL_NAME_MAX), VALUE(RL_STEP_NONE), VALUE(RL_STEP_INFO), VALUE(RL_STEP_CONFIGURE),
	VALUE(RL_STEP_MTU), VALUE(RL_STEP_RX_QUEUE), VALUE(RL_STEP_TX_QUEUE),
	VALUE(RL_STEP_START),
	VALUE(RTE_PKTMBUF_HEADROOM), VALUE(RTE_MBUF_F_RX_IP_CKSUM_MASK),
	VALUE(RTE_MBUF_F_RX_IP_CKSUM_BAD), VALUE(RTE_MBUF_F_RX_IP_CKSUM_GOOD),
	VALUE(RTE_MBUF_F_RX_IP_CKSUM_NONE), VALUE(RTE_MBUF_F_RX_L4_CKSUM_MASK),
	VALUE(RTE_MBUF_F_RX_L4_CKSUM_BAD), VALUE(RTE_MBUF_F_RX_L4_CKSUM_GOOD),
	VALUE(RTE_MBUF_F_RX_L4_CKSUM_NONE), VALUE(RTE_ETH_RX_OFFLOAD_IPV4_CKSUM),
	VALUE(RTE_ETH_RX_OFFLOAD_UDP_CKSUM), VALUE(RTE_ETH_TX_OFFLOAD_IPV4_CKSUM),
	VALUE(RTE_ETH_TX_OFFLOAD_UDP_CKSUM),
	VALUE(RTE_LOG_ERR), VALUE(RTE_LOG_WARNING), VALUE(RTE_LOG_NOTICE), VALUE(RTE_LOG_INFO),
	VALUE(RTE_LOG_DEBUG), VALUE(RTE_TEL_MAX_SINGLE_STRING_LEN),
	VALUE(RTE_TEL_MAX_DICT_ENTRIES), VALUE(RTE_TEL_MAX_STRING_LEN),
};

const char *rl_fact(uint32_t index, uint64_t *value)
{
	if (index >= RTE_DIM(facts))
		return NULL;
	*value = facts[index].value;
	return facts[index].name;
}

/* ---- EAL ---- */

const char *rl_version(void)
{
	return rte_version();
}

static int minus_errno(int rc)
{
	if (rc >= 0)
		return rc;
	return rte_errno != 0 ? -rte_errno : -EIO;
}

int rl_eal_init(int argc, char **argv)
{
	rte_errno = 0;
	return minus_errno(rte_eal_init(argc, argv));
}

int rl_eal_cleanup(void)
{
	return rte_eal_cleanup();
}

const char *rl_runtime_dir(void)
{
	return rte_eal_get_runtime_dir();
}

int rl_has_hugepages(void)
{
	return rte_eal_has_hugepages();
}

const char *rl_strerror(int error)
{
	return rte_strerror(error < 0 ? -error : error);
}

uint64_t rl_tsc_hz(void)
{
	return rte_get_tsc_hz();
}

static ssize_t log_write(void *cookie, const char *text, size_t len)
{
	((rl_log_cb)cookie)(rte_log_cur_msg_loglevel(), text, len);
	return (ssize_t)len;
}

int rl_log_open(rl_log_cb cb)
{
	cookie_io_functions_t io = { .write = log_write };
	FILE *stream = fopencookie((void *)cb, "w", io);

	if (stream == NULL)
		return -errno;
	setvbuf(stream, NULL, _IOLBF, 1024);
	return rte_openlog_stream(stream);
}

/* Writes one line through DPDK's own log, as a driver does. */
int rl_log(uint32_t level, const char *text)
{
	return rte_log(level, RTE_LOGTYPE_USER1, "%s\n", text);
}

/* ---- lcores ---- */

int rl_thread_register(void)
{
	int rc;

	rte_errno = 0;
	rc = rte_thread_register();
	return rc < 0 ? minus_errno(rc) : (int)rte_lcore_id();
}

static void flush_cache(struct rte_mempool *pool, void *lcore)
{
	struct rte_mempool_cache *cache =
		rte_mempool_default_cache(pool, *(unsigned int *)lcore);

	if (cache != NULL && cache->len != 0)
		rte_mempool_cache_flush(cache, pool);
}

/* Gives the lcore's cached buffers back to their pools first: nobody else could reach them. */
void rl_thread_unregister(void)
{
	unsigned int lcore = rte_lcore_id();

	if (lcore != LCORE_ID_ANY)
		rte_mempool_walk(flush_cache, &lcore);
	rte_thread_unregister();
}

int rl_lcore_id(void)
{
	unsigned int lcore = rte_lcore_id();

	return lcore == LCORE_ID_ANY ? -1 : (int)lcore;
}

/* ---- buffers ---- */

static int pool_fill(struct rte_mempool *pool, uint16_t data_room)
{
	struct rte_pktmbuf_pool_private about = { .mbuf_data_room_size = data_room };
	int rc = rte_mempool_set_ops_byname(pool, "stack", NULL);

	if (rc != 0)
		return rc;
	rte_pktmbuf_pool_init(pool, &about);
	rc = rte_mempool_populate_default(pool);
	if (rc < 0)
		return rc;
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return 0;
}

/*
 * rte_pktmbuf_pool_create_by_ops(), but for one flag. Backed by a stack by name, whatever the platform's default:
 * what was freed last is handed out next, while it is still in the cache. A ring hands out what was freed longest
 * ago, and goes through the whole pool's memory for that. rl_pool_is_whole() reads the stack.
 *
 * Without hugepages a buffer may cross a page, since no device there sees physical addresses. Kept inside pages,
 * buffers would be 4096 bytes apart, all in the same few sets of a cache, and beyond the memory that net_af_xdp
 * thinks a pool has: it multiplies.
 */
struct rte_mempool *rl_pool_create(const char *name, uint32_t mbufs, uint32_t cache,
				   uint16_t data_room, int socket, int *error)
{
	unsigned int flags = rte_eal_has_hugepages() ? 0 : RTE_MEMPOOL_F_NO_IOVA_CONTIG;
	struct rte_mempool *pool;

	rte_errno = 0;
	pool = rte_mempool_create_empty(name, mbufs, sizeof(struct rte_mbuf) + data_room, cache,
					sizeof(struct rte_pktmbuf_pool_private), socket, flags);
	if (pool == NULL) {
		*error = minus_errno(-1);
		return NULL;
	}
	*error = pool_fill(pool, data_room);
	if (*error != 0) {
		rte_mempool_free(pool);
		return NULL;
	}
	return pool;
}

void rl_pool_free(struct rte_mempool *pool)
{
	rte_mempool_free(pool);
}

uint32_t rl_pool_in_use(const struct rte_mempool *pool)
{
	return rte_mempool_in_use_count(pool);
}

/*
 * True when every buffer lies in the common stack, not even in a cache. Then no thread is inside a put: it would
 * hold the lock, or its buffers would be missing.
 */
int rl_pool_is_whole(const struct rte_mempool *pool)
{
	struct rte_stack_std *stack = &((struct rte_stack *)pool->pool_data)->stack_std;
	uint32_t len;

	rte_spinlock_lock(&stack->lock);
	len = stack->len;
	rte_spinlock_unlock(&stack->lock);
	return len == pool->size;
}

struct rte_mbuf *rl_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int rl_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, uint32_t n)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, n);
}

void rl_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

void rl_mbuf_free_bulk(struct rte_mbuf **mbufs, uint32_t n)
{
	rte_pktmbuf_free_bulk(mbufs, n);
}

int rl_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail)
{
	return rte_pktmbuf_chain(head, tail);
}

/* ---- devices ---- */

int rl_eth_find(const char *name)
{
	uint16_t port;
	int rc = rte_eth_dev_get_port_by_name(name, &port);

	return rc == 0 ? port : rc;
}

int rl_eth_probe(const char *devargs)
{
	return rte_dev_probe(devargs);
}

int rl_eth_info(uint16_t port, struct rl_eth_info *out)
{
	struct rte_eth_dev_info info;
	struct rte_ether_addr mac;
	struct rte_eth_link link;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = rte_eth_dev_info_get(port, &info);
	if (rc == 0)
		rc = rte_eth_macaddr_get(port, &mac);
	if (rc == 0)
		rc = rte_eth_dev_get_mtu(port, &out->mtu);
	if (rc == 0)
		rc = rte_eth_dev_get_name_by_port(port, out->name);
	if (rc != 0)
		return rc;
	snprintf(out->driver, sizeof(out->driver), "%s", info.driver_name);
	memcpy(out->mac, mac.addr_bytes, sizeof(out->mac));
	out->rx_offloads = info.rx_offload_capa;
	out->tx_offloads = info.tx_offload_capa;
	out->rss_types = info.flow_type_rss_offloads;
	out->socket = rte_eth_dev_socket_id(port);
	out->rx_queues_max = info.max_rx_queues;
	out->tx_queues_max = info.max_tx_queues;
	out->rx_desc_min = info.rx_desc_lim.nb_min;
	out->rx_desc_max = info.rx_desc_lim.nb_max;
	out->tx_desc_min = info.tx_desc_lim.nb_min;
	out->tx_desc_max = info.tx_desc_lim.nb_max;
	out->mtu_min = info.min_mtu;
	out->mtu_max = info.max_mtu;
	if (rte_eth_link_get_nowait(port, &link) == 0) {
		out->link_up = link.link_status == RTE_ETH_LINK_UP;
		out->link_mbps = link.link_speed;
	}
	return 0;
}

static int queues_setup(uint16_t port, const struct rl_eth_conf *conf, struct rte_mempool *pool,
			const struct rte_eth_dev_info *info, int *step)
{
	struct rte_eth_rxconf rx = info->default_rxconf;
	struct rte_eth_txconf tx = info->default_txconf;
	uint16_t nb_rxd = conf->rx_desc, nb_txd = conf->tx_desc, q;
	int socket = rte_eth_dev_socket_id(port);
	int rc;

	*step = RL_STEP_CONFIGURE;
	rc = rte_eth_dev_adjust_nb_rx_tx_desc(port, &nb_rxd, &nb_txd);
	if (rc != 0)
		return rc;
	rx.offloads = conf->rx_offloads & info->rx_queue_offload_capa;
	tx.offloads = conf->tx_offloads & info->tx_queue_offload_capa;
	*step = RL_STEP_RX_QUEUE;
	for (q = 0; q < conf->queues && rc == 0; q++)
		rc = rte_eth_rx_queue_setup(port, q, nb_rxd, socket, &rx, pool);
	if (rc != 0)
		return rc;
	*step = RL_STEP_TX_QUEUE;
	for (q = 0; q < conf->queues && rc == 0; q++)
		rc = rte_eth_tx_queue_setup(port, q, nb_txd, socket, &tx);
	return rc;
}

/*
 * Configures by capability and starts; on failure *step says where. An MTU that a device cannot
 * set is an error only when it is larger than the one the device has.
 */
int rl_eth_start(uint16_t port, const struct rl_eth_conf *conf, struct rte_mempool *pool, int *step)
{
	struct rte_eth_conf eth;
	struct rte_eth_dev_info info;
	uint64_t rss = RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP;
	uint16_t mtu = 0;
	int rc;

	*step = RL_STEP_INFO;
	rc = rte_eth_dev_info_get(port, &info);
	if (rc == 0)
		rc = rte_eth_dev_get_mtu(port, &mtu);
	if (rc != 0)
		return rc;
	memset(&eth, 0, sizeof(eth));
	eth.rxmode.offloads = conf->rx_offloads & info.rx_offload_capa;
	eth.txmode.offloads = conf->tx_offloads & info.tx_offload_capa;
	eth.rxmode.mtu = mtu;
	rss &= info.flow_type_rss_offloads;
	if (conf->rss && conf->queues > 1 && rss != 0) {
		eth.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		eth.rx_adv_conf.rss_conf.rss_hf = rss;
	}
	*step = RL_STEP_CONFIGURE;
	rc = rte_eth_dev_configure(port, conf->queues, conf->queues, &eth);
	if (rc != 0)
		return rc;
	*step = RL_STEP_MTU;
	if (conf->mtu != 0 && conf->mtu != mtu)
		rc = rte_eth_dev_set_mtu(port, conf->mtu);
	/* A device with a fixed MTU is told less by sending less. */
	if (rc != 0 && !(rc == -ENOTSUP && conf->mtu < mtu))
		return rc;
	rc = queues_setup(port, conf, pool, &info, step);
	if (rc != 0)
		return rc;
	*step = RL_STEP_START;
	rc = rte_eth_dev_start(port);
	if (rc != 0)
		return rc;
	/* Devices without these receive everything already. */
	if (conf->promiscuous)
		(void)rte_eth_promiscuous_enable(port);
	if (conf->allmulticast)
		(void)rte_eth_allmulticast_enable(port);
	*step = RL_STEP_NONE;
	return 0;
}

/* Stops, closes and unplugs. Closing is what detaches an XDP program or removes a tap interface. */
int rl_eth_close(uint16_t port)
{
	struct rte_eth_dev_info info;
	struct rte_device *device = NULL;
	int rc, unplug = 0;

	if (rte_eth_dev_info_get(port, &info) == 0)
		device = info.device;
	(void)rte_eth_dev_stop(port);
	rc = rte_eth_dev_close(port);
	if (device != NULL)
		unplug = rte_dev_remove(device);
	return rc != 0 ? rc : unplug;
}

int rl_eth_stats(uint16_t port, struct rl_eth_stats *out)
{
	struct rte_eth_stats stats;
	int rc = rte_eth_stats_get(port, &stats);

	if (rc != 0)
		return rc;
	out->rx_packets = stats.ipackets;
	out->tx_packets = stats.opackets;
	out->rx_bytes = stats.ibytes;
	out->tx_bytes = stats.obytes;
	out->rx_missed = stats.imissed;
	out->rx_errors = stats.ierrors;
	out->tx_errors = stats.oerrors;
	out->rx_no_mbuf = stats.rx_nombuf;
	return 0;
}

/* Fills at most n entries; returns how many there are. */
int rl_eth_xstats(uint16_t port, struct rl_xstat *out, uint32_t n)
{
	struct rte_eth_xstat_name names[256];
	struct rte_eth_xstat values[256];
	uint32_t i;
	int count = rte_eth_xstats_get_names(port, NULL, 0);

	if (count <= 0 || (uint32_t)count > n || count > (int)RTE_DIM(names))
		return count > (int)RTE_DIM(names) ? -E2BIG : count;
	count = rte_eth_xstats_get_names(port, names, RTE_DIM(names));
	if (count < 0)
		return count;
	if (rte_eth_xstats_get(port, values, RTE_DIM(values)) != count)
		return -EAGAIN;
	for (i = 0; i < (uint32_t)count; i++) {
		memcpy(out[i].name, names[values[i].id].name, sizeof(out[i].name));
		out[i].name[RL_NAME_MAX - 1] = 0;
		out[i].value = values[i].value;
	}
	return count;
}

/*
 * One receive call. Buffers that Rust could not own alone (several segments, or shared) are freed
 * here and counted, so every pointer handed out is one segment with one reference.
 */
uint16_t rl_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n,
		     uint64_t *refused)
{
	uint16_t got = rte_eth_rx_burst(port, queue, mbufs, n), kept = 0, i;

	for (i = 0; i < got; i++) {
		struct rte_mbuf *m = mbufs[i];

		if (likely(m->nb_segs == 1 && rte_mbuf_refcnt_read(m) == 1)) {
			mbufs[kept++] = m;
			continue;
		}
		rte_pktmbuf_free(m);
		(*refused)++;
	}
	return kept;
}

uint16_t rl_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, mbufs, n);
}

/* ---- telemetry ---- */

static rl_telemetry_cb rust_telemetry;

static int telemetry_dispatch(const char *cmd, const char *params, struct rte_tel_data *out)
{
	return rust_telemetry(cmd, params, out);
}

int rl_telemetry_register(const char *cmd, const char *help, rl_telemetry_cb cb)
{
	rust_telemetry = cb;
	return rte_telemetry_register_cmd(cmd, telemetry_dispatch, help);
}

int rl_tel_string(struct rte_tel_data *out, const char *text)
{
	return rte_tel_data_string(out, text);
}

int rl_tel_dict(struct rte_tel_data *out)
{
	return rte_tel_data_start_dict(out);
}

int rl_tel_dict_u64(struct rte_tel_data *out, const char *name, uint64_t value)
{
#if RTE_VERSION >= RTE_VERSION_NUM(23, 3, 0, 0)
	return rte_tel_data_add_dict_uint(out, name, value);
#else
	return rte_tel_data_add_dict_u64(out, name, value);
#endif
}

int rl_tel_dict_string(struct rte_tel_data *out, const char *name, const char *text)
{
	return rte_tel_data_add_dict_string(out, name, text);
}
