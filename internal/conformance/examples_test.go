// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// chapters are how many worked examples each chapter has. The cases from the field have odd numbers: the last is B137.
var chapters = map[string]int{
	"accounts": 20, "alchemy": 18, "clients": 20, "dispatch": 24, "errors": 16, "kudos": 23, "newer": 8, "ratings": 18, "requests": 20,
	"status": 20, "styles": 19, "cases": 137,
}

// elsewhere are the examples, or parts of one, that are asserted where no node is needed: by a test of another package, which
// is a directory beside this one.
var elsewhere = []struct {
	pkg, test, chapter string
	examples           []int
}{
	{"horde", "TestHashKey", "accounts", []int{1}},
	{"horde", "TestSharedKeysConsume", "accounts", []int{7}},
	{"horde", "TestParseAlias", "accounts", []int{9}},
	{"moderation", "TestNormalise", "accounts", []int{10}},
	{"moderation", "TestScore", "accounts", []int{11}},
	{"moderation", "TestReplace", "accounts", []int{12}},
	{"supporters", "TestWhatPatronsGet", "accounts", []int{19}},
	{"supporters", "TestPatreon", "accounts", []int{19}},
	{"horde", "TestSanitize", "accounts", []int{20}},
	{"moderation", "TestAgeRule", "accounts", []int{20}},
	{"bulletin", "TestShortNumbers", "accounts", []int{20}},
	{"horde", "TestLease", "dispatch", []int{3}},
	{"horde", "TestBatchSize", "dispatch", []int{4}},
	{"horde", "TestStepLimit", "dispatch", []int{9}},
	{"horde", "TestWorkerSpeed", "dispatch", []int{20}},
	{"horde", "TestSkipped", "dispatch", []int{21}},
	{"horde", "TestPopSeed", "dispatch", []int{22}},
	{"api", "TestWorkedExamplesOfValidation", "errors", []int{1, 2, 3, 4, 5, 6, 7}},
	{"kudos", "TestJobsOfTheExamples", "kudos", []int{2, 4, 5, 7, 15}},
	{"kudos", "TestFloorsOfTheExamples", "kudos", []int{18}},
	{"engine", "TestTrustOfTheExamples", "kudos", []int{17}},
	{"kudos", "TestImageWorkMatchesTheFortyPayloads", "kudos", []int{1}},
	{"kudos", "TestPrice", "kudos", []int{1}},
	{"kudos", "TestAnImageIsEstimatedAsItIsSettled", "kudos", []int{2, 4}},
	{"kudos", "TestEstimate", "kudos", []int{3, 9, 14}},
	{"kudos", "TestBurn", "kudos", []int{5, 6}},
	{"kudos", "TestFreeSize", "kudos", []int{10}},
	{"kudos", "TestFreeSize", "requests", []int{7, 10}},
	{"kudos", "TestDowngradeOfTheSize", "kudos", []int{10}},
	{"kudos", "TestTextReward", "kudos", []int{11, 12, 13}},
	{"kudos", "TestRequired", "kudos", []int{9, 14}},
	{"kudos", "TestUptimeReward", "kudos", []int{16}},
	{"horde", "TestSharedKeysConsume", "kudos", []int{20}},
	{"horde", "TestMonthAfter", "kudos", []int{21}},
	{"horde", "TestJudge", "kudos", []int{22}},
	{"horde", "TestJudge", "ratings", []int{1, 2, 3, 4, 5, 6, 7, 8}},
	{"ratings", "TestRemoteOutcomes", "ratings", []int{10}},
	{"ratings", "TestRating", "ratings", []int{12, 13, 14}},
	{"ratings", "TestCaptcha", "ratings", []int{15}},
	{"ratings", "TestRetryAfter", "ratings", []int{15}},
	{"ratings", "TestCheckAndStored", "ratings", []int{13, 16}},
	{"ratings", "TestModeration", "ratings", []int{17}},
	{"horde", "TestParseSeed", "requests", []int{5}},
	{"horde", "TestPopSeed", "requests", []int{6}},
	{"kudos", "TestDowngradeOfTheSize", "requests", []int{9}},
	{"horde", "TestJudge", "requests", []int{19}},
	{"horde", "TestStatisticsOfTheExamples", "status", []int{8, 9}},
	{"api/v2", "TestAHeartbeatAnswersInAnyCase", "status", []int{13}},
	{"horde", "TestQuantisationIsCutAsTheChapterShows", "status", []int{15}},
	{"modelref", "TestATableIsASource", "status", []int{16}},
	{"modelref", "TestATableBecomesAList", "status", []int{17}},
	{"horde", "TestBaseline", "status", []int{18}},
	{"bulletin", "TestShortNumbers", "status", []int{19}},
	{"horde", "TestRenderStyle", "styles", []int{1, 2, 3, 4, 19}},
	{"horde", "TestCheckStylePrompt", "styles", []int{9}},
	{"horde", "TestParseStyleReference", "styles", []int{14}},
	{"horde", "TestTheUniqueNameNamesTheStyle", "styles", []int{14}},
	{"horde", "TestStatisticsPass32Bits", "cases", []int{53}},
	{"engine", "TestReportsWithoutARecordPunishNobody", "cases", []int{55}},
	{"node", "TestANodeThatIsGoneCostsNothing", "cases", []int{57}},
	{"source", "TestInpainting", "cases", []int{79}},
	{"picture", "TestTransparencySurvives", "cases", []int{79}},
	{"worker", "TestDreamerJobs", "cases", []int{81, 83}},
	{"picture", "TestHostileHuffmanTables", "cases", []int{83}},
	{"worker/backend", "TestUploadLinksKeepTheirOrder", "cases", []int{87}},
	{"worker", "TestDreamerDeliversABatch", "cases", []int{87, 127}},
	{"../client", "TestDecodeTolerates", "cases", []int{95}},
	{"../client", "TestDecodeToleratesWhatIsNewer", "cases", []int{95}},
	{"worker/assets", "TestBlockedSite", "cases", []int{97}},
	{"worker", "TestDreamerWhereCivitAIIsBlocked", "cases", []int{97}},
	{"worker/assets", "TestSlowDownloads", "cases", []int{99}},
	{"worker", "TestDreamerWithSlowDownloads", "cases", []int{99}},
	{"fediseer/server", "TestLostKeys", "cases", []int{101}},
	{"fediseer/server", "TestUpdaterAndDeadInstances", "cases", []int{103, 109}},
	{"fediseer/server", "TestPagesAreStable", "cases", []int{105}},
	{"fediseer/server", "TestProbes", "cases", []int{107}},
	{"fediseer/server", "TestLists", "cases", []int{111, 113}},
	{"fediseer/server", "TestHyphenatedDomainShowsAtOnce", "cases", []int{115}},
	{"worker", "TestScribeSurvivesItsServerGoingAway", "cases", []int{117}},
	{"moderation", "TestTextsAreNotSearched", "cases", []int{125}},
	{"worker", "TestScribeFailures", "cases", []int{129}},
	{"worker", "TestScribeNamesWhatIsWrongWithTheConnection", "cases", []int{129}},
	{"hordeling/embedding", "TestBytesOfTheWorkedExamples", "cases", []int{133}},
	{"hordeling/embedding", "TestOutputsFollowTheRulesOfLoaders", "cases", []int{133}},
	{"hordeling/embedding", "TestWorkedExamples", "cases", []int{135}},
	{"hordeling/embedding", "TestShapes", "cases", []int{135}},
	{"hordeling", "TestOrderOfChecks", "cases", []int{137}},
	{"hordeling", "TestMessagesSayWhetherToGiveUp", "cases", []int{137}},
}

// shown are the examples that this run has shown, by chapter and number, with the tests that did.
var shown struct {
	sync.Mutex
	by map[string]map[int][]string
}

// example notes which worked examples of a chapter a test shows. They count once it has passed; a test that is skipped, because
// something is not installed, counts too: in CI it fails instead.
func example(t *testing.T, chapter string, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		if !isExample(chapter, n) {
			t.Fatalf("the chapter %s has no example %d", chapter, n)
		}
	}
	t.Cleanup(func() {
		if !t.Failed() {
			showExamples(t.Name(), chapter, numbers...)
		}
	})
}

func showExamples(by, chapter string, numbers ...int) {
	shown.Lock()
	defer shown.Unlock()
	if shown.by == nil {
		shown.by = map[string]map[int][]string{}
	}
	if shown.by[chapter] == nil {
		shown.by[chapter] = map[int][]string{}
	}
	for _, n := range numbers {
		shown.by[chapter][n] = append(shown.by[chapter][n], by)
	}
}

func isExample(chapter string, n int) bool {
	return n >= 1 && n <= chapters[chapter] && (chapter != "cases" || n%2 == 1)
}

// tellExamples writes which test shows which example, and returns those that none has shown.
func tellExamples(w io.Writer) (missing []string) {
	shown.Lock()
	defer shown.Unlock()
	for _, chapter := range slices.Sorted(maps.Keys(chapters)) {
		total, have := 0, 0
		for n := 1; n <= chapters[chapter]; n++ {
			if !isExample(chapter, n) {
				continue
			}
			total++
			name := fmt.Sprint(chapter, "/example ", n)
			by := shown.by[chapter][n]
			if len(by) == 0 {
				missing = append(missing, name)
				continue
			}
			have++
			fmt.Fprintf(w, "%s: %s\n", name, strings.Join(slices.Compact(slices.Sorted(slices.Values(by))), ", "))
		}
		fmt.Fprintf(w, "%s: %d of %d examples\n", chapter, have, total)
	}
	return missing
}

// examplesAreComplete turns the code of a run of all tests into a failure where an example was shown by none. With -v it tells
// which test shows which.
func examplesAreComplete(code int) int {
	set := func(name string) string { return flag.Lookup("test." + name).Value.String() }
	var told io.Writer = io.Discard
	if testing.Verbose() {
		told = os.Stdout
	}
	missing := append(tellExamples(told), tellRefusals(told)...)
	all := set("run") == "" && set("skip") == "" && set("list") == "" && set("fuzz") == "" && set("short") == "false"
	if code == 0 && all && len(missing) > 0 {
		fmt.Printf("FAIL: no test has shown %s\n", strings.Join(missing, ", "))
		return 1
	}
	return code
}

// TestExamplesElsewhere holds the table of what other packages show against their tests, all of which run where these do.
func TestExamplesElsewhere(t *testing.T) {
	t.Parallel()
	packages := map[string]map[string]bool{}
	for _, e := range elsewhere {
		tests, ok := packages[e.pkg]
		if !ok {
			tests = testsOf(t, filepath.Join("..", e.pkg))
			packages[e.pkg] = tests
		}
		if !tests[e.test] {
			t.Errorf("%s has no %s, which is said to show %s %v", e.pkg, e.test, e.chapter, e.examples)
			continue
		}
		for _, n := range e.examples {
			if !isExample(e.chapter, n) {
				t.Errorf("the chapter %s has no example %d", e.chapter, n)
			}
		}
		showExamples(e.pkg+"."+e.test, e.chapter, e.examples...)
	}
}

// testsOf are the names of the tests in a directory.
func testsOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := fs.Glob(os.DirFS(dir), "*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no tests: %v", dir, err)
	}
	tests := map[string]bool{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				tests[f.Name.Name] = true
			}
		}
	}
	return tests
}
