// What starters' variables mean, from maps of variables as those starters set them.
#include "rrhf/distributed/environment.h"

#include <gtest/gtest.h>

#include <map>

namespace rrhf::distributed {
namespace {

using Map = std::map<std::string, std::string>;

Meeting read(const Map& map) {
  return read_environment(
      [&](const std::string& name) {
        const auto found = map.find(name);
        return found == map.end() ? std::nullopt : std::optional(found->second);
      },
      "here");
}

Map with(Map map, const Map& more) {
  for (const auto& [name, value] : more) map[name] = value;
  return map;
}

Map without(Map map, const std::string& name) {
  map.erase(name);
  return map;
}

std::string refusal(const Map& map) {
  try {
    read(map);
  } catch (const InputError& failure) {
    return failure.what();
  }
  return "not refused";
}

void expect_place(const Meeting& meeting, int rank, int size, int local_rank, int local_size) {
  const Place& place = meeting.place;
  EXPECT_EQ((std::array{place.rank, place.size, place.local_rank, place.local_size}),
            (std::array{rank, size, local_rank, local_size}));
  EXPECT_EQ(place.host, "here");
}

const Map torchrun{{"RANK", "5"},
                   {"WORLD_SIZE", "8"},
                   {"LOCAL_RANK", "1"},
                   {"LOCAL_WORLD_SIZE", "4"},
                   {"MASTER_ADDR", "10.0.0.1"},
                   {"MASTER_PORT", "29400"}};

TEST(Environment, WithoutVariablesIsOneProcess) {
  const Meeting meeting = read({});
  expect_place(meeting, 0, 1, 0, 1);
  EXPECT_EQ(meeting.starter, "");
}

TEST(Environment, ReadsTorchrun) {
  const Meeting meeting = read(torchrun);
  expect_place(meeting, 5, 8, 1, 4);
  EXPECT_EQ(meeting.address, "10.0.0.1");
  EXPECT_EQ(meeting.port, 29400);
  EXPECT_FALSE(meeting.hosted_by_starter);
  EXPECT_FALSE(meeting.supervised);
  EXPECT_EQ(meeting.restarts, 0);
}

TEST(Environment, ReadsTorchrunsAgentStoreAndRestarts) {
  const Map agent = with(torchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}, {"TORCHELASTIC_RESTART_COUNT", "2"}});
  EXPECT_TRUE(read(agent).hosted_by_starter);
  EXPECT_EQ(read(agent).restarts, 2);
  EXPECT_FALSE(read(with(agent, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}})).hosted_by_starter);
}

TEST(Environment, OneTorchrunRankNeedsNoMeetingPoint) {
  expect_place(read({{"RANK", "0"}, {"WORLD_SIZE", "1"}}), 0, 1, 0, 1);
}

TEST(Environment, RanksSetByHandAreOneAMachineUnlessSaidOtherwise) {
  const Map by_hand = without(without(torchrun, "LOCAL_RANK"), "LOCAL_WORLD_SIZE");
  expect_place(read(by_hand), 5, 8, 0, 1);
}

TEST(Environment, NamesWhatIsMissing) {
  const auto lacking = [](const char* name) { return refusal(without(torchrun, name)); };
  EXPECT_EQ(lacking("RANK"), "[distributed] WORLD_SIZE is set, RANK is not: set both or none");
  EXPECT_EQ(lacking("WORLD_SIZE"), "[distributed] RANK is set, WORLD_SIZE is not: set both or none");
  EXPECT_EQ(lacking("LOCAL_RANK"), "[distributed] LOCAL_WORLD_SIZE is set, LOCAL_RANK is not: set both or none");
  EXPECT_EQ(lacking("MASTER_ADDR"),
            "[distributed] MASTER_ADDR is not set, but other variables of torchrun are; all ranks need it");
  EXPECT_EQ(lacking("MASTER_PORT"),
            "[distributed] MASTER_PORT is not set, but other variables of torchrun are; all ranks need it");
}

TEST(Environment, NamesWhatContradicts) {
  const auto changed = [](const char* name, const char* value) { return refusal(with(torchrun, {{name, value}})); };
  EXPECT_EQ(changed("RANK", "8"), "[distributed] RANK is 8, but WORLD_SIZE is 8: ranks count from 0");
  EXPECT_EQ(changed("LOCAL_RANK", "4"), "[distributed] LOCAL_RANK is 4, but LOCAL_WORLD_SIZE is 4: ranks count from 0");
  EXPECT_EQ(changed("LOCAL_WORLD_SIZE", "9"), "[distributed] LOCAL_WORLD_SIZE is 9, more than WORLD_SIZE, which is 8");
  EXPECT_EQ(changed("RANK", "-1"), "[distributed] RANK is -1; it must be a whole number of at least 0");
  EXPECT_EQ(changed("RANK", "1x"), "[distributed] RANK is 1x; it must be a whole number of at least 0");
  EXPECT_EQ(changed("WORLD_SIZE", "0"), "[distributed] WORLD_SIZE is 0; it must be a whole number of at least 1");
  EXPECT_EQ(changed("WORLD_SIZE", "99999999999"),
            "[distributed] WORLD_SIZE is 99999999999; it must be a whole number of at least 1");
  EXPECT_EQ(changed("MASTER_PORT", "70000"),
            "[distributed] MASTER_PORT is 70000; it must be a whole number from 1 to 65535");
  EXPECT_EQ(changed("MASTER_ADDR", ""),
            "[distributed] MASTER_ADDR is not set, but other variables of torchrun are; all ranks need it");
}

const Map open_mpi{{"OMPI_COMM_WORLD_RANK", "2"},
                   {"OMPI_COMM_WORLD_SIZE", "4"},
                   {"OMPI_COMM_WORLD_LOCAL_RANK", "2"},
                   {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                   {"PMIX_NAMESPACE", "prterun-box-123@1"}};

TEST(Environment, ReadsOpenMpi) {
  const Meeting meeting = read(open_mpi);
  expect_place(meeting, 2, 4, 2, 4);
  EXPECT_EQ(meeting.address, "127.0.0.1");
  // All ranks of a job meet at one port, other jobs at another.
  EXPECT_EQ(meeting.port, read(with(open_mpi, {{"OMPI_COMM_WORLD_RANK", "3"}})).port);
  EXPECT_NE(meeting.port, read(with(open_mpi, {{"PMIX_NAMESPACE", "prterun-box-124@1"}})).port);
  EXPECT_GE(meeting.port, 20000);
  EXPECT_LT(meeting.port, 32000);
}

TEST(Environment, OpenMpiOverMachinesNeedsTheFirstOnesAddress) {
  const Map machines = with(open_mpi, {{"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "0"}});
  EXPECT_NE(refusal(machines).find("MASTER_ADDR is not set"), std::string::npos);
  const Meeting meeting = read(with(machines, {{"MASTER_ADDR", "node1"}, {"MASTER_PORT", "1234"}}));
  expect_place(meeting, 2, 4, 0, 2);
  EXPECT_EQ(meeting.address, "node1");
  EXPECT_EQ(meeting.port, 1234);
}

TEST(Environment, NamesWhatOpenMpiLacks) {
  EXPECT_EQ(refusal(without(open_mpi, "OMPI_COMM_WORLD_RANK")),
            "[distributed] OMPI_COMM_WORLD_RANK is not set, but other variables of Open MPI are; all ranks need it");
  EXPECT_EQ(refusal(with(open_mpi, {{"OMPI_COMM_WORLD_LOCAL_SIZE", "5"}})),
            "[distributed] OMPI_COMM_WORLD_LOCAL_SIZE is 5, more than OMPI_COMM_WORLD_SIZE, which is 4");
}

// srun with 3 tasks a node on two nodes, the second node's last task.
const Map slurm{{"SLURM_JOB_ID", "77"},
                {"SLURM_PROCID", "5"},
                {"SLURM_NTASKS", "6"},
                {"SLURM_LOCALID", "2"},
                {"SLURM_NTASKS_PER_NODE", "3"},
                {"SLURM_NODEID", "1"},
                {"SLURM_JOB_NODELIST", "gpu[07-08]"},
                {"SLURM_STEP_ID", "0"}};

TEST(Environment, ReadsSlurm) {
  const Meeting meeting = read(slurm);
  expect_place(meeting, 5, 6, 2, 3);
  EXPECT_EQ(meeting.address, "gpu07");
  EXPECT_EQ(meeting.port, read(with(slurm, {{"SLURM_PROCID", "0"}})).port);
  EXPECT_NE(meeting.port, read(with(slurm, {{"SLURM_JOB_ID", "78"}})).port);
}

TEST(Environment, ASlurmStepCountsForMoreThanItsJob) {
  const Map step = with(slurm, {{"SLURM_STEP_NUM_TASKS", "5"},
                                {"SLURM_PROCID", "4"},
                                {"SLURM_LOCALID", "0"},
                                {"SLURM_NODEID", "2"},
                                {"SLURM_STEP_NODELIST", "gpu[08-10]"},
                                {"SLURM_STEP_TASKS_PER_NODE", "2(x2),1"}});
  const Meeting meeting = read(step);
  expect_place(meeting, 4, 5, 0, 1);
  EXPECT_EQ(meeting.address, "gpu08");
  EXPECT_NE(refusal(with(step, {{"SLURM_NODEID", "3"}})).find("has no node 3"), std::string::npos);
}

TEST(Environment, AShellOrScriptInAnAllocationIsOneProcess) {
  const Map allocation{{"SLURM_JOB_ID", "77"}, {"SLURM_NTASKS", "6"}, {"SLURM_JOB_NODELIST", "gpu[07-08]"}};
  expect_place(read(allocation), 0, 1, 0, 1);
  // An interactive step of salloc, and a batch script: both have a rank.
  expect_place(read(with(allocation, {{"SLURM_PROCID", "0"}, {"SLURM_LOCALID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}})),
               0, 1, 0, 1);
  expect_place(read(with(allocation, {{"SLURM_PROCID", "0"}, {"SLURM_LOCALID", "0"}, {"ENVIRONMENT", "BATCH"}})), 0, 1,
               0, 1);
  expect_place(read(with(allocation, {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}})), 0, 1, 0, 1);
}

TEST(Environment, NamesWhatSlurmLacks) {
  EXPECT_EQ(refusal(without(slurm, "SLURM_LOCALID")),
            "[distributed] SLURM_LOCALID is not set, but other variables of Slurm are; all ranks need it");
  EXPECT_EQ(refusal(without(slurm, "SLURM_JOB_NODELIST")),
            "[distributed] SLURM_JOB_NODELIST is not set, but other variables of Slurm are; all ranks need it");
  EXPECT_EQ(refusal(with(slurm, {{"SLURM_PROCID", "6"}})),
            "[distributed] SLURM_PROCID is 6, but SLURM_NTASKS is 6: ranks count from 0");
}

TEST(Environment, TheInnermostStarterCounts) {
  // mpirun inside a Slurm job starts its daemons with srun; torchrun may be started by either.
  expect_place(read(with(slurm, open_mpi)), 2, 4, 2, 4);
  expect_place(read(with(with(slurm, open_mpi), torchrun)), 5, 8, 1, 4);
}

TEST(FirstHost, ReadsSlurmsLists) {
  EXPECT_EQ(first_host("node1"), "node1");
  EXPECT_EQ(first_host("node1,node2"), "node1");
  EXPECT_EQ(first_host("gpu[07-09,12],cpu1"), "gpu07");
  EXPECT_EQ(first_host("gpu[3,7-9]"), "gpu3");
  EXPECT_EQ(first_host("gpu[12]"), "gpu12");
  EXPECT_EQ(first_host("a1,gpu[07-09]"), "a1");
  EXPECT_EQ(first_host("rack[1-2]-a,b"), "rack1-a");
  for (const char* wrong : {"", ",a", "gpu[", "gpu[]", "gpu[07-09"})
    EXPECT_THROW(first_host(wrong), InputError) << wrong;
}

}  // namespace
}  // namespace rrhf::distributed
