/*
 * The ABI between the shim and Rust: plain structures, opaque pointers, one call per burst.
 * Every structure here has a twin in types.rs; tests/layout.rs compares the two field by field.
 */
#ifndef ROOMLANE_SHIM_H
#define ROOMLANE_SHIM_H

#include <stddef.h>
#include <stdint.h>

struct rte_mbuf;
struct rte_mempool;
struct rte_tel_data;

#define RL_NAME_MAX 64

/* What a device is and can do. */
struct rl_eth_info {
	char driver[RL_NAME_MAX];
	char name[RL_NAME_MAX];
	uint64_t rx_offloads;
	uint64_t tx_offloads;
	uint64_t rss_types;
	int32_t socket;
	uint32_t link_mbps;
	uint16_t rx_queues_max;
	uint16_t tx_queues_max;
	uint16_t rx_desc_min;
	uint16_t rx_desc_max;
	uint16_t tx_desc_min;
	uint16_t tx_desc_max;
	uint16_t mtu;
	uint16_t mtu_min;
	uint16_t mtu_max;
	uint8_t mac[6];
	uint8_t link_up;
	uint8_t pad[3];
};

/* What is asked of a device. */
struct rl_eth_conf {
	uint64_t rx_offloads;
	uint64_t tx_offloads;
	uint16_t queues;
	uint16_t rx_desc;
	uint16_t tx_desc;
	uint16_t mtu;
	uint8_t promiscuous;
	uint8_t allmulticast;
	uint8_t rss;
	uint8_t pad[5];
};

/* Which step of rl_eth_start() failed. */
enum rl_step {
	RL_STEP_NONE = 0,
	RL_STEP_INFO = 1,
	RL_STEP_CONFIGURE = 2,
	RL_STEP_MTU = 3,
	RL_STEP_RX_QUEUE = 4,
	RL_STEP_TX_QUEUE = 5,
	RL_STEP_START = 6,
};

struct rl_eth_stats {
	uint64_t rx_packets;
	uint64_t tx_packets;
	uint64_t rx_bytes;
	uint64_t tx_bytes;
	uint64_t rx_missed;
	uint64_t rx_errors;
	uint64_t tx_errors;
	uint64_t rx_no_mbuf;
};

struct rl_xstat {
	char name[RL_NAME_MAX];
	uint64_t value;
};

typedef void (*rl_log_cb)(int level, const char *text, size_t len);
typedef int (*rl_telemetry_cb)(const char *cmd, const char *params, struct rte_tel_data *out);

#endif
